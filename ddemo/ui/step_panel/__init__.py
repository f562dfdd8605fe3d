"""One step, opened: what the model believed at the step and the token that the canvas shows, as plotly figures."""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from ddemo.errors import InputError
from ddemo.figures import step as figures
from ddemo.figures.look import PAGE
from ddemo.trace import Trace
from ddemo.ui.plot_view import PlotView, figure_message, sentence_message
from ddemo.ui.visits import Visit

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
HINT = (
    "What the model believed at the step on the canvas, before temperature. Click a cell of the heatmap to go to its "
    "token; the bars are those of the token that you point at on the canvas."
)
NO_RUN = "Run something first: press Denoise, then scrub to a step."
UNEXPECTED = "Something went wrong on the server: this step could not be drawn."
MOUNT = """
mountStepFollower(element, {
  trigger, watch: (seen) => watch('value', () => seen(props.value)),
});
"""


@cache
def source(name: str) -> str:
    """One of the panel's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class StepFollower(gr.HTML):
    """Asks for the step on show by the event `look`; its value is the answer's number."""

    def __init__(self, hint: str = HINT, **kwargs):
        super().__init__(
            "",
            html_template=f'<p class="dd-step-hint">{hint}</p>',
            js_on_load=source("follow.js") + MOUNT,
            apply_default_css=False,
            **kwargs,
        )


def add_step_panel(visit: gr.State) -> None:
    """The panel, closed; what it draws costs nothing until it is opened.

    Args:
        visit: the session's `Visit`.
    """
    with gr.Accordion("One step, opened", open=False, elem_id="step-panel", elem_classes=["dd-step-panel"]):
        follower = StepFollower(elem_id="step-follower", elem_classes=["dd-plain"])
        with gr.Row(elem_classes=["dd-step-figures"]):
            heatmap = PlotView(elem_id="step-heatmap", elem_classes=["dd-plain"])
            bars = PlotView(elem_id="step-bars", elem_classes=["dd-plain"])

    def look(visit: Visit, event: gr.EventData) -> list[Any]:
        return answer(visit, event._data)

    follower.look(
        look,
        [visit],
        [follower, heatmap, bars],
        queue=False,
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
    )


def answer(visit: Visit, asked: Any) -> list[Any]:
    """Number, heatmap and bars for what a page asks: {run, step, segment, pos, same, n}.

    A heatmap that the page has already (`same`) is skipped.
    """
    asked = asked if isinstance(asked, dict) else {}
    number, run, step, segment = (asked.get(name) for name in ("n", "run", "step", "segment"))
    try:
        heatmap, bars = _figures(visit, run, step, segment, asked.get("pos"), asked.get("same") is True)
    except InputError as problem:
        heatmap, bars = sentence_message(str(problem)), sentence_message("")
    except Exception:
        log.exception("a step could not be drawn")
        heatmap, bars = sentence_message(UNEXPECTED), sentence_message("")
    return [json.dumps({"n": number if type(number) is int else None}), heatmap, bars]


def _figures(visit: Visit, run: Any, step: Any, segment: Any, position: Any, same: bool) -> tuple[Any, str]:
    if run is None:
        raise InputError(NO_RUN)
    trace = visit.find(run)
    seen = figures.one_step(trace, step, segment)
    if type(position) is not int or not 0 <= position < len(trace.segment_at(step, segment).canvas):
        position = _first_choice(seen)
    return gr.skip() if same else heatmap_of(trace, step), bars_of(trace, step, position)


def _first_choice(seen: figures.OneStep) -> int:
    """Where the canvas points at no token: the first that the step wrote, or was asked about."""
    asked = seen.frame.positions.tolist()
    return next((at for at in seen.written if at in asked), asked[0])


def heatmap_of(trace: Trace, step: int) -> str:
    """The message of a step's heatmap, with all candidates as a table."""
    return figure_message(
        figures.step_heatmap(trace, step, colours=PAGE),
        f"step-{step}",
        figures.step_words(trace, step),
        figures.step_csv(figures.step_table(trace, step)),
    )


def bars_of(trace: Trace, step: int, position: int) -> str:
    """The message of a token's bars, as of the last time that the model was asked about it; or why there are none."""
    asked = figures.last_asked(trace, step, position)
    if asked is None:
        return sentence_message(f"Up to step {step} the model has not been asked about token {position + 1}.")
    return figure_message(
        figures.position_bars(trace, asked, position, colours=PAGE),
        f"step-{asked}-token-{position + 1}",
        figures.position_words(trace, asked, position),
        figures.step_csv(figures.one_step(trace, asked).rows(position)),
    )
