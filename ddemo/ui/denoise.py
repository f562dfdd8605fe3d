"""The Denoise tab: text on top, the token canvas under it, settings folded away."""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from ddemo import runs
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig, check_cache, check_process, read_text
from ddemo.sampling.canvas import MaskRun, parse_markers, read_chat, read_draft
from ddemo.trace import Trace
from ddemo.ui.chosen import Header, asks_of, kept_text, kind_of, only_if_new, tries_of
from ddemo.ui.controls import CHOICE, DRAW, OF_ANY_RUN, Controls
from ddemo.ui.conversation import BOX, MESSAGE, TEXT, WAITING, Conversation, asked_for, forget, mode_for, said, so_far
from ddemo.ui.examples import EXAMPLE, TRY, Try, example_of
from ddemo.ui.notice import Notice, tell
from ddemo.ui.paths_panel import add_paths_panel
from ddemo.ui.resident import Resident, StoppedWaiting
from ddemo.ui.run_charts import RunCharts
from ddemo.ui.second_look import add_second_look
from ddemo.ui.shelf import Shelf
from ddemo.ui.step_panel import add_step_panel
from ddemo.ui.take_home import add_take_home
from ddemo.ui.token_canvas import TokenCanvas
from ddemo.ui.token_canvas.messages import Messages, draft, say, wait
from ddemo.ui.visits import (
    AT_ONCE,
    SentMessages,
    Visit,
    Work,
    data_of,
    forgotten_with_the_session,
    new_run_id,
)

log = logging.getLogger(__name__)

EXAMPLE_NOTE = "This is a recorded run: drag the slider to watch it come out of the noise."
UNEXPECTED = "Something went wrong on the server, and the run ended here; your text is as you left it."
ASK_FOR_DRAFT = """(text, length, checkpoint, mode) => {
  if (mode === 'message') return; // the last answer stays on the canvas while the next message is written
  document.dispatchEvent(new CustomEvent('ddemo:draft', {detail: {text, length: Number(length) || 0, checkpoint}}));
}"""
# A message that is being answered leaves the text box for the conversation; what is being written stays.
TAKE_ANSWERED = """(text, log) => {
  const [who, asked] = JSON.parse(log || '[]').at(-1) || [];
  return who === 'You' && asked.trim() === text.trim() ? '' : text;
}"""
TAKE_TRY = "(chosen, mode) => JSON.parse(chosen)[mode === 'message' ? 'asks' : 'tries'][%d].slice(1)"


def denoise_tab(shelf: Shelf, header: Header) -> "DenoiseTab":
    """Lay out the tab and connect its controls; must be called inside a Blocks context.

    Returns:
        What other parts of the page read of it.
    """
    sent = SentMessages()
    visit = forgotten_with_the_session(Visit())
    controls = Controls(kind_of(shelf.default), shelf.default.usual)
    talk, text, length, new_seed, buttons, notice, carry, chips = _lay_out(shelf.default, header, controls)
    run_button, stop_button = buttons
    canvas = TokenCanvas(
        first_value(shelf.default),
        draft=named("draft", partial(drafted, shelf), most=3),
        messages=named("messages", sent.since),
        elem_id="canvas",
        elem_classes=["dd-plain"],
    )
    add_second_look(shelf, sent, visit, canvas)
    RunCharts(elem_id="charts", elem_classes=["dd-plain"])
    add_step_panel(visit)
    add_paths_panel(shelf, visit)
    tab = DenoiseTab(text, length, new_seed, controls, chips, canvas, notice, carry, talk)
    outputs = [canvas, notice, run_button, stop_button, controls.inputs["seed"], talk.log]
    streaming = {
        "outputs": outputs,
        "concurrency_id": "model",
        "concurrency_limit": AT_ONCE,
        "show_progress": "minimal",
        "show_progress_on": notice,
        "api_visibility": "private",
        "trigger_mode": "once",
    }
    wiring = _Wiring(shelf, sent, controls, outputs)
    inputs = [header.picker, text, length, new_seed, *controls.components, talk.mode, talk.system, visit]
    run_button.click(wiring.denoise, inputs, **streaming)
    text.submit(wiring.denoise, inputs, **streaming)
    canvas.resume(wiring.resume, [visit], **streaming)
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    stop_button.click(stop, visit, None, **quiet)
    canvas.text(take_text, None, [text, length], trigger_mode="multiple", **quiet)
    talk.log.change(None, [text, talk.log], text, js=TAKE_ANSWERED)
    talk.fresh.click(forget, visit, talk.log, **quiet)
    talk.mode.input(
        partial(tab.in_mode, shelf), [header.picker, talk.mode], [text, *talk.switching, *chips, carry], **quiet
    )
    drafting = [text.change, length.change, talk.mode.change]
    gr.on(drafting, None, [text, length, header.picker, talk.mode], None, js=ASK_FOR_DRAFT)
    add_take_home(shelf, visit, header, tab)
    return tab


class DenoiseTab(NamedTuple):
    """The tab's text, new tokens and settings, the texts to try, and the button that carries its text over."""

    text: gr.Textbox
    length: gr.Number
    new_seed: gr.Checkbox
    controls: Controls
    chips: list[gr.Button]
    canvas: TokenCanvas
    notice: Notice
    carry: gr.Button
    talk: Conversation

    @property
    def switching(self) -> list[gr.components.Component]:
        """What `switched` has updates for."""
        controls = self.controls
        fields = [self.text, self.length, self.canvas, self.notice, self.carry]
        return [*fields, *self.chips, *controls.components, controls.about, *self.talk.switching]

    @staticmethod
    def draft(resident: Resident, text: str, length: float) -> str:
        """The canvas's message about a text that is typed."""
        return draft_of(resident, text, length)

    def switched(self, resident: Resident, text: Any, length: Any, sampler: str = "") -> dict:
        """Updates for another checkpoint: its recorded run where the text is the one to try first, else the text."""
        return self._switched(resident, text, length, sampler, mode_for(resident, text))

    def switched_for_text(self, resident: Resident, text: Any, length: Any, sampler: str = "") -> dict:
        """The same where what comes is a text, whatever the checkpoint was tuned on."""
        return self._switched(resident, text, length, sampler, TEXT)

    def _switched(self, resident: Resident, text: Any, length: Any, sampler: str, mode: str) -> dict:
        held = text, length
        text, length = kept_text(text, length, resident)
        first, *_ = tries_of(resident)
        recorded = held == (first.text, first.length)  # a text that changes asks for a draft by itself
        if mode == MESSAGE:
            canvas = say(WAITING)
        else:
            canvas = first_value(resident) if recorded else draft_of(resident, text, length)
        label, info = BOX[mode]
        box = {"label": label, "info": info} | ({} if text == held[0] else {"value": text})
        return {
            self.text: gr.update(**box),
            self.length: only_if_new(length, held[1]),
            self.canvas: canvas,
            self.notice: tell(""),
            **self._offered(resident, mode),
            **self.talk.switched(resident, mode),
            **self.controls.switched(kind_of(resident), resident.usual, sampler),
        }

    def in_mode(self, shelf: Shelf, checkpoint: Any, mode: str) -> dict:
        """Updates for what the text box holds; what is written in it stays."""
        label, info = BOX[mode]
        offered = self._offered(shelf.get(checkpoint), mode)
        return {self.text: gr.update(label=label, info=info), **self.talk.in_mode(mode), **offered}

    def _offered(self, resident: Resident, mode: str) -> dict:
        """What can be tried; lanes are compared on texts."""
        offered = asks_of(resident) if mode == MESSAGE else tries_of(resident)
        chips = {chip: gr.update(**shown) for chip, shown in zip(self.chips, _chips(offered), strict=True)}
        return chips | {self.carry: gr.update(visible=mode == TEXT)}


def _lay_out(resident: Resident, header: Header, controls: Controls):
    """The text and what is tried with it, the sampler and its settings, and the rest folded away."""
    with gr.Column(elem_classes=["dd-controls"]):
        talk = Conversation(resident)
        tries = asks_of(resident) if talk.mode.value == MESSAGE else tries_of(resident)
        label, info = BOX[talk.mode.value]
        text = gr.Textbox(
            tries[0].text,
            label=label,
            info=info,
            lines=2,
            max_lines=12,
            max_length=100_000,
            elem_id="text",
            elem_classes=["dd-text"],
        )
        with gr.Row(elem_classes=["dd-try"]):
            chips = [gr.Button(**shown, size="sm", elem_classes=["dd-chip"]) for shown in _chips(tries)]
            look = {"elem_id": "carry", "elem_classes": ["dd-carry"], "visible": talk.mode.value == TEXT}
            carry = gr.Button("Compare this text", size="sm", **look)
        with gr.Row(elem_classes=["dd-main-settings"], equal_height=True):
            controls.add(CHOICE)
            length = gr.Number(tries[0].length, label="New tokens", precision=0, min_width=120, elem_id="length")
            controls.add(DRAW)
            with gr.Column(min_width=160, elem_classes=["dd-go"]):
                run_button = gr.Button("Denoise", variant="primary", elem_id="denoise")
                look = {"variant": "stop", "elem_id": "stop", "elem_classes": ["dd-stop"]}
                stop_button = gr.Button("Stop", visible=False, **look)
        with gr.Row(elem_classes=["dd-sampler-settings"]):
            with gr.Column(min_width=320, elem_classes=["dd-about-column"]):
                controls.add_about()
            controls.add(*controls.of_samplers)
        notice = Notice(elem_id="notice", elem_classes=["dd-plain", "dd-notice-line"])
        with gr.Accordion("More settings", open=False, elem_classes=["dd-more"]), gr.Row():
            controls.add(*OF_ANY_RUN)
            new_seed = gr.Checkbox(
                True, label="New seed for each run", info="off: the seed is kept", min_width=160, elem_id="new-seed"
            )
    controls.connect(header.chosen)
    for number, chip in enumerate(chips):
        chip.click(None, [header.chosen, talk.mode], [text, length], js=TAKE_TRY % number)
    return talk, text, length, new_seed, (run_button, stop_button), notice, carry, chips


def _chips(tries: Sequence[Try]) -> list[dict[str, Any]]:
    """What the buttons of texts to try show; a checkpoint that can read few has fewer."""
    shown = [{"value": item.title, "visible": True} for item in tries]
    return shown + [{"value": "", "visible": False}] * (len(TRY) - len(shown))


class _Wiring:
    """The two streaming handlers; they convert values, call `runs` and pass messages on.

    A visitor has one run under way: whatever begins the next one, the one before ends.
    """

    def __init__(self, shelf: Shelf, sent: SentMessages, controls: Controls, outputs: list):
        self.shelf = shelf
        self.controls = controls
        self.sent = sent
        self.canvas, self.notice, self.run_button, self.stop_button, self.seed, self.log = outputs

    def denoise(self, checkpoint, text, length, new_seed, *values) -> Iterator[dict]:
        """Begin a run from the text box and stream it."""
        *settings, mode, system, visit = values

        def prepare(stopped: Callable[[], bool]):
            resident = self.shelf[checkpoint]
            turns = asked_for(self.shelf, visit, text, system) if mode == MESSAGE else []
            seed = {"seed": secrets.randbelow(1_000_000)} if new_seed else {}
            config = SamplerConfig.from_values(self.controls.values(settings, kind_of(resident), **seed))
            request = runs.checked_request("" if turns else text or "", length or 0)
            # All that can be said without the weights is said before waiting for them.
            check_process(config, resident.process, resident.id)
            check_cache(config, resident.caches, resident.id)
            given = (turns, request[1]) if turns else request
            (read_chat if turns else read_text)(*given, resident.codec, resident.max_length)
            yield from self._wait_for(resident, stopped)
            trace = (runs.begin_chat if turns else runs.begin)(resident.get(), *given, config)
            run = new_run_id()
            messages = Messages(run, trace)
            told = {self.notice: tell(" ".join(runs.notes(trace, request[0])))}
            return run, trace, messages, messages.open(), told | ({self.seed: trace.config.seed} if new_seed else {})

        yield from self._stream(prepare, visit)

    def resume(self, visit: Visit, event: gr.EventData) -> Iterator[dict]:
        """Go on from a step of a run, with the visitor's edits and the checkpoint that it was made with."""

        def prepare(stopped: Callable[[], bool]):
            asked = data_of(event)
            source, step, cells = asked.get("run"), asked.get("step"), asked.get("cells")
            segment = asked.get("segment")
            before = visit.find(source)
            resident = self.shelf.maker_of(before)
            yield from self._wait_for(resident, stopped)
            trace = runs.proceed(resident.get(), before, step, cells, segment)
            run = new_run_id()
            messages = Messages(run, trace)
            first = messages.branch(source, step, cells is not None, segment)
            return run, trace, messages, first, {self.notice: tell("")}

        yield from self._stream(prepare, visit)

    def _stream(self, prepare, visit: Visit) -> Iterator[dict]:
        ours = visit.denoising.begin()
        trace = messages = run = None
        try:
            yield {self.run_button: gr.update(visible=False), self.stop_button: gr.update(visible=True)}
            run, trace, messages, first, told = yield from prepare(ours.stopped)
            visit.remember(run, trace)
            yield {self.canvas: self.sent.add(run, first), **told, **self._talk(visit, run, trace)}
            with self.shelf.maker_of(trace).at_work() as (checkpoint, engine):
                for frame in runs.carry_out(checkpoint, trace, ours.stopped, engine):
                    yield {self.canvas: self.sent.add(run, messages.frame(frame))}
            answered = {self.log: said(so_far(self.shelf, trace))} if trace.turns else {}
            yield {self.canvas: self.sent.add(run, messages.end()), **answered, **self._idle(visit, ours)}
        except StoppedWaiting as told:
            if visit.denoising.now is ours:
                yield {self.notice: tell(str(told)), self.canvas: say(""), **self._idle(visit, ours)}
        except InputError as problem:
            yield self._failed(run, trace, messages, str(problem)) | self._idle(visit, ours)
        except Exception:
            log.exception("a run failed")
            yield self._failed(run, trace, messages, UNEXPECTED) | self._idle(visit, ours)

    def _talk(self, visit: Visit, run: str, trace: Trace) -> dict:
        """A message that is being answered is part of the conversation."""
        if not trace.turns:
            return {}
        visit.talk = run
        return {self.log: said(trace.turns)}

    def _wait_for(self, resident: Resident, stopped: Callable[[], bool]) -> Iterator[dict]:
        if not resident.loaded:
            sentence = f"Loading {resident.id}: the run begins as soon as it is there."
            yield {self.notice: tell(sentence), self.canvas: wait(f"Waiting for {resident.id}…")}
            resident.await_weights(stopped)

    def _idle(self, visit: Visit, ours: Work) -> dict:
        """The buttons as they are when nothing runs, unless something does by now."""
        if visit.denoising.now is not ours:
            return {}
        return {self.run_button: gr.update(visible=True), self.stop_button: gr.update(visible=False)}

    def _failed(self, run: str | None, trace: Trace | None, messages: Messages | None, problem: str) -> dict:
        told = {self.notice: tell(problem, "error")}
        if messages is None:
            return told | {self.canvas: say("")}
        trace.state = "failed"
        ended = messages.end("This run failed; the steps before it are kept.")
        return told | {self.canvas: self.sent.add(run, ended)}


def stop(visit: Visit) -> None:
    """The run ends at its next step, with what it has done so far."""
    visit.denoising.stop()


def take_text(event: gr.EventData) -> tuple[Any, Any]:
    """The canvas changed the text (masks that were dragged, a result taken over) or the masks after it."""
    asked = data_of(event)
    new, tail = asked.get("text"), asked.get("tail")
    return (new if isinstance(new, str) else gr.skip()), (tail if type(tail) is int and tail > 0 else gr.skip())


def drafted(shelf: Shelf, text: Any, length: Any, checkpoint: Any = None) -> str:
    """As `draft_of`, for the checkpoint that a page names, or else the one that it opens with."""
    try:
        return draft_of(shelf.default if checkpoint is None else shelf[checkpoint], text, length)
    except InputError as problem:
        return say(str(problem))


def draft_of(resident: Resident, text: str, length: float) -> str:
    """What has been typed, as tokens, with the masks that `length` asks for where they fit; or a sentence."""
    codec, limit = resident.codec, resident.max_length
    try:
        text, length = runs.checked_request(text, length)
        canvas = read_draft(text, length, codec, limit)
    except InputError as problem:
        return say(str(problem))
    has_mask = any(isinstance(part, MaskRun) for part in parse_markers(text))
    tail = 0 if has_mask else len(canvas.masks(codec.mask_id))
    return draft(
        new_run_id(),
        canvas,
        codec,
        {"checkpoint": resident.id, "noise": resident.process, "mask": codec.mask_id, "limit": limit},
        tail,
    )


def first_value(resident: Resident) -> str:
    """The run that was recorded with this checkpoint, else what the text box holds."""
    run = f"{EXAMPLE}{resident.id}"
    if (trace := example_of(run)) is not None:
        return Messages(run, trace, EXAMPLE_NOTE).whole()
    first = tries_of(resident)[0]
    return draft_of(resident, first.text, first.length)


def named(name: str, function, most: int = 2):
    """A server function: Gradio calls it by its `__name__`, JavaScript's arguments, two to `most`, as a list."""

    def call(sent):
        return function(*(sent if isinstance(sent, list) and 2 <= len(sent) <= most else (None, None)))

    call.__name__ = name
    return call
