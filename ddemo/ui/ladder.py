"""The steps ladder under Compare: quality against denoiser calls, for argmax and for sampling."""

import logging
from collections.abc import Iterator

import gradio as gr

from ddemo import runs
from ddemo.compare.findings import in_steps, ladder_findings, with_error
from ddemo.compare.ladder import SEEDS, STEPS, Ladder, climb
from ddemo.compare.report import COLUMNS
from ddemo.errors import InputError
from ddemo.figures.ladder import SHOWN, ladder_csv, ladder_figure, ladder_rows, ladder_words
from ddemo.figures.look import PAGE
from ddemo.measures import Value
from ddemo.ui.chosen import kind_of
from ddemo.ui.controls import Controls
from ddemo.ui.judge_seat import JudgeSeat
from ddemo.ui.notice import Notice, tell
from ddemo.ui.number_table import NumberTable, table
from ddemo.ui.plot_view import PlotView, figure_message
from ddemo.ui.resident import Resident, StoppedWaiting
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import AT_ONCE, OneAtATime, Work, forgotten_with_the_session

log = logging.getLogger(__name__)

ABOUT = (
    f"The text above in {STEPS[0]} to {STEPS[-1]} steps, by argmax and by {SEEDS} samples each, with the sampler and "
    "the settings above. What is finished stays when you stop."
)
UNEXPECTED = "Something went wrong on the server, and the ladder ended here; the rungs until then are kept."
CAPTION = "Measures against the number of steps"
EVERY = 4  # turns between two notes on how far it is


def add_ladder(
    shelf: Shelf, seat: JudgeSeat, controls: Controls, picker: gr.Dropdown, text: gr.Textbox, length: gr.Number
) -> None:
    """The panel, folded away; must be called inside a Blocks context.

    Args:
        controls, text, length: of the comparison above.
        picker: of the checkpoint.
    """
    climbing = forgotten_with_the_session(OneAtATime())
    with gr.Accordion(
        "Steps ladder: what do more steps buy?", open=False, elem_id="ladder", elem_classes=["dd-fold"]
    ):
        with gr.Row(elem_classes=["dd-ladder-row"]):
            notice = Notice(tell(ABOUT), elem_id="ladder-notice", elem_classes=["dd-plain"])
            with gr.Column(scale=0, min_width=140):
                run = gr.Button("Climb", elem_id="climb", elem_classes=["dd-second"])
                halt = gr.Button(
                    "Stop", variant="stop", visible=False, elem_id="ladder-stop", elem_classes=["dd-stop"]
                )
        plot = PlotView(elem_id="ladder-plot", elem_classes=["dd-plain"], visible=False)
        numbers = NumberTable(elem_id="ladder-table", elem_classes=["dd-plain"])
    outputs = [notice, run, halt, plot, numbers]
    wiring = _Wiring(shelf, seat, controls, *outputs)
    run.click(
        wiring.climb,
        [picker, text, length, *controls.components, climbing],
        outputs,
        concurrency_id="model",
        concurrency_limit=AT_ONCE,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )
    halt.click(OneAtATime.stop, climbing, None, queue=False, show_progress="hidden", api_visibility="private")


class _Wiring:
    """The streaming handler; it converts values, calls `climb` and shows what is finished."""

    def __init__(self, shelf: Shelf, seat: JudgeSeat, controls: Controls, notice, run, halt, plot, numbers):
        self.shelf = shelf
        self.seat = seat
        self.controls = controls
        self.notice, self.run, self.halt, self.plot, self.numbers = notice, run, halt, plot, numbers

    def climb(self, checkpoint, text, length, *values) -> Iterator[dict]:
        """Climb with the values above, rung by rung."""
        *settings, climbing = values
        ours = climbing.begin()
        try:
            yield self._buttons(running=True) | {self.notice: tell("")}
            request = runs.checked_request(text or "", length or 0)
            yield from self._climb(self.shelf[checkpoint], request, settings, ours)
        except StoppedWaiting as told:
            yield {self.notice: tell(str(told))} | self._buttons(running=False)
        except InputError as problem:
            yield {self.notice: tell(str(problem), "error")} | self._buttons(running=False)
        except Exception:
            log.exception("a ladder failed")
            yield {self.notice: tell(UNEXPECTED, "error")} | self._buttons(running=False)

    def _climb(self, resident: Resident, request: tuple[str, int], settings, ours: Work) -> Iterator[dict]:
        text, length = request
        if not resident.loaded:
            yield {self.notice: tell(f"Loading {resident.id}: the ladder begins as soon as it is there.")}
            resident.await_weights(ours.stopped)
        if self.seat.waiting:
            yield {self.notice: tell("Loading the judge; it stays loaded afterwards.")}
        judge = self.seat.ask(ours.stopped)
        given = self.controls.values(settings, kind_of(resident))
        rungs = 0
        with resident.at_work() as (checkpoint, engine):
            for ladder in climb(
                checkpoint,
                [text],
                given,
                length,
                judge=judge,
                no_judge=self.seat.problem,
                stopped=ours.stopped,
                engine=engine,
            ):
                if ladder.doing and ladder.done % EVERY == 0:
                    yield {self.notice: tell(f"{ladder.doing}: {100 * ladder.done // ladder.all} % of the ladder.")}
                if len(ladder.rungs) > rungs:
                    rungs = len(ladder.rungs)
                    yield {self.plot: gr.update(value=as_plot(ladder), visible=True), self.numbers: as_table(ladder)}
        said = f"Stopped: {rungs} of {len(STEPS)} rungs are finished." if ours.stop else "All rungs are there."
        yield {self.notice: tell(said)} | self._buttons(running=False)

    def _buttons(self, running: bool) -> dict:
        return {self.run: gr.update(visible=not running), self.halt: gr.update(visible=running)}


def as_plot(ladder: Ladder) -> str:
    """The figure of the rungs that are finished, with its numbers as a file."""
    return figure_message(ladder_figure(ladder, PAGE), "ladder", ladder_words(ladder), ladder_csv(ladder))


def as_table(ladder: Ladder) -> str:
    """The same as a table, and what it says."""
    rows = [
        [f"{in_steps(steps)}, {group}", *(_cell(name, value) for name, value in values.items())]
        for steps, group, values in ladder_rows(ladder)
    ]
    missing = {value.why for _, _, values in ladder_rows(ladder) for value in values.values() if value.number is None}
    said = [*ladder_findings(ladder.rungs), *(f"–: {why}" for why in sorted(missing))]
    return table(CAPTION, ["", *(COLUMNS[name] for name in SHOWN)], rows, said)


def _cell(name: str, value: Value) -> str:
    if value.number is None:
        return "–"
    return f"{value.number:g}" if name == "nfe" and not value.error else with_error(value)
