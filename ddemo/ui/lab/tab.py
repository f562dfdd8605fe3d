"""The tab: a list of views, one of which is shown, with its words, its settings and what it draws."""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ddemo.errors import InputError
from ddemo.ui.chosen import Header, about, is_chosen, tries_of
from ddemo.ui.denoise import DenoiseTab
from ddemo.ui.lab import argmaxes, calibration, ddim, exact, forward, kolmogorov, limit, matrices, posterior, scores
from ddemo.ui.lab.links import fragment_of, read_fragment
from ddemo.ui.lab.view import View, formula
from ddemo.ui.notice import Notice, tell
from ddemo.ui.resident import Resident, StoppedWaiting
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import AT_ONCE, OneAtATime, data_of, forgotten_with_the_session

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
TAB = "lab"
MODULES = (forward, matrices, posterior, kolmogorov, scores, argmaxes, limit, ddim, exact, calibration)
VIEWS = {module.VIEW.name: module.VIEW for module in MODULES}
FIRST = next(iter(VIEWS))
UNEXPECTED = "Something went wrong on the server: this could not be drawn."
QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
# Settings read what their controls hold, and parts take what they are given: nothing is left to do in between, for
# which Gradio would have a thread turn to each of them.
BARE = QUIET | {"preprocess": False, "postprocess": False}

# Which view is on show is the browser's matter: a style sheet hides the others (`lab_css`).
SHOW_VIEW = "(view) => { document.documentElement.dataset.lab = view; }"
ADDRESS_JS = (
    "document.documentElement.dataset.lab ||= %r;"
    """
const open_it = () => { if (location.hash.startsWith('#lab=')) trigger('open_link', {fragment: location.hash}); };
const heard = () => { if (element.isConnected) open_it(); else window.removeEventListener('hashchange', heard); };
window.addEventListener('hashchange', heard);
open_it();
"""
)
LINK = '<span class="dd-lab-link"><button type="button">Link to this view</button><span role="status"></span></span>'
LINK_JS = """
const [button, line] = [element.querySelector('button'), element.querySelector('[role=status]')];
const show = () => { button.disabled = !props.value; line.textContent = ''; };
button.addEventListener('click', async () => {
  history.replaceState(history.state, '', `${location.pathname}${location.search}${props.value}`);
  line.textContent = 'It is in the address bar.';
  try {
    await navigator.clipboard.writeText(location.href);
    line.textContent = 'It is in the address bar, and copied.';
  } catch { /* not allowed here */ }
});
show();
watch('value', show);
"""


class LabAddress(gr.HTML):
    """Reads the page's address. Event: `open_link` {fragment}, for one that describes a view."""

    def __init__(self, **kwargs):
        super().__init__(
            "",
            html_template="<span hidden></span>",
            js_on_load=ADDRESS_JS % FIRST,
            apply_default_css=False,
            **kwargs,
        )


class LabLink(gr.HTML):
    """A button that puts its value, a fragment, into the address bar and copies it."""

    def __init__(self, **kwargs):
        super().__init__("", html_template=LINK, js_on_load=LINK_JS, apply_default_css=False, **kwargs)

    def postprocess(self, value: str | None) -> str | None:
        """The fragment as it is: it reaches the page as data."""
        return value


class Shown:
    """A view on the page: its controls and what it draws into."""

    def __init__(self, view: View):
        self.view = view
        place = f"lab-{view.name}"
        with gr.Column(elem_id=place, elem_classes=["dd-lab-view"]):
            formula(view.words, elem_classes=["dd-lab-words"])
            with gr.Column(elem_classes=["dd-controls"]), gr.Row(elem_classes=["dd-lab-settings"]):
                self.controls = {setting.name: setting.made(place) for setting in view.settings}
            with gr.Row(elem_classes=["dd-lab-line"]):
                self.notice = Notice(elem_id=f"{place}-notice", elem_classes=["dd-plain"])
                self.link = LabLink(elem_id=f"{place}-link", elem_classes=["dd-plain"])
            self.run = self.halt = None
            if view.work:
                with gr.Row(elem_classes=["dd-lab-work"]):
                    self.run = gr.Button(view.work.title, elem_id=f"{place}-run", elem_classes=["dd-second"])
                    stop_look = {"variant": "stop", "elem_classes": ["dd-stop"]}
                    self.halt = gr.Button("Stop", visible=False, elem_id=f"{place}-stop", **stop_look)
            with gr.Row(elem_classes=["dd-lab-parts"]):
                self.parts = {part.name: part.made(place) for part in view.parts}

    @property
    def outputs(self) -> list[gr.components.Component]:
        """All that can be filled in."""
        return [self.notice, self.link, *self.parts.values(), *self.controls.values()]

    @property
    def drawn(self) -> list[gr.components.Component]:
        """What an answer may change: Gradio makes every output of a handler anew, and those that stay as well."""
        updated = [self.controls[name] for name in self.view.updated]
        return [self.notice, self.link, *self.parts.values(), *updated]

    def answered(self, resident: Resident, held: list[Any]) -> dict[gr.components.Component, Any]:
        """Updates for what the controls hold; where that cannot be shown, a sentence, and all else stays."""
        try:
            values = self.view.values(held)
            found = self.view.answer(values, resident)
        except InputError as problem:
            return {self.notice: tell(str(problem), "error")}
        except Exception:
            log.exception("the view %s of the lab failed", self.view.name)
            return {self.notice: tell(UNEXPECTED, "error")}
        return {self.notice: tell(""), self.link: fragment_of(self.view, values, resident.id)} | self._drawn(found)

    def _drawn(self, found: Mapping[str, Any]) -> dict[gr.components.Component, Any]:
        named = {**self.parts, **self.controls}
        return {named[name]: value for name, value in found.items()}

    def carried_out(
        self, resident: Resident, held: list[Any], working: OneAtATime
    ) -> Iterator[dict[gr.components.Component, Any]]:
        """Updates of the view's work, with Stop in place of its button until it is over."""
        ours = working.begin()
        try:
            values = self.view.values(held)
            waiting = "" if resident.loaded else f"Loading {resident.id}: this begins as soon as it is there."
            yield self._buttons(working=True) | {self.notice: tell(waiting)}
            for update in self.view.work.carry_out(values, resident, ours.stopped):
                yield {self.notice: tell(update.said)} | self._drawn(update.shown)
            yield self._buttons(working=False)
        except StoppedWaiting as told:
            yield {self.notice: tell(str(told))} | self._buttons(working=False)
        except InputError as problem:
            yield {self.notice: tell(str(problem), "error")} | self._buttons(working=False)
        except Exception:
            log.exception("the work of the view %s of the lab failed", self.view.name)
            yield {self.notice: tell(UNEXPECTED, "error")} | self._buttons(working=False)

    def _buttons(self, working: bool) -> dict[gr.components.Component, Any]:
        return {self.run: gr.update(visible=not working), self.halt: gr.update(visible=working)}


class LabTab:
    """The list of views and the views, from top to bottom, and the handlers."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        with gr.Row(elem_classes=["dd-lab"]):
            with gr.Column(scale=0, min_width=210, elem_classes=["dd-lab-side"]):
                self.choice = gr.Radio(
                    [(view.title, name) for name, view in VIEWS.items()],
                    value=FIRST,
                    label="What to look at",
                    elem_id="lab-view",
                    elem_classes=["dd-lab-views"],
                )
            with gr.Column(elem_classes=["dd-lab-main"]):
                self.refusal = Notice(elem_id="lab-refusal", elem_classes=["dd-plain"])
                self.shown = {name: Shown(view) for name, view in VIEWS.items()}
        self.text.value = tries_of(shelf.default)[0].text

    @property
    def text(self) -> gr.components.Component:
        """The sentence that is noised."""
        return self.shown[forward.VIEW.name].controls["text"]

    @property
    def controls(self) -> list[gr.components.Component]:
        """Those of all views, in order."""
        return [control for shown in self.shown.values() for control in shown.controls.values()]

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [output for shown in self.shown.values() for output in shown.outputs]

    @property
    def drawn(self) -> list[gr.components.Component]:
        """What the answers of all views may change."""
        return [output for shown in self.shown.values() for output in shown.drawn]

    def show(self, name: Any, checkpoint: Any, *held: Any) -> dict[gr.components.Component, Any]:
        """Draw the view of that name from what the controls of all views hold."""
        shown = self.shown[name if isinstance(name, str) and name in self.shown else FIRST]
        of_all = dict(zip(self.controls, held, strict=True))
        return shown.answered(self.shelf.get(checkpoint), [of_all[control] for control in shown.controls.values()])


def lab_tab(shelf: Shelf, header: Header, tab: gr.Tab, denoising: DenoiseTab) -> LabTab:
    """Lay out the tab and connect its controls; must be called inside a Blocks context.

    Args:
        tab: where it is laid out.
        denoising: the tab whose text is noised here.
    """
    lab = LabTab(shelf)

    def change(shown: Shown, checkpoint: Any, *held: Any) -> dict[gr.components.Component, Any]:
        return shown.answered(shelf.get(checkpoint), list(held))

    for shown in lab.shown.values():
        controls = list(shown.controls.values())
        changed = [control.change for control in controls]
        gr.on(changed, partial(change, shown), [header.picker, *controls], shown.drawn, **BARE)
        if shown.view.work:
            _connect_work(shown, shelf, header)
    everything = [lab.choice, header.picker, *lab.controls]
    lab.choice.change(None, lab.choice, None, js=SHOW_VIEW)
    gr.on([tab.select, lab.choice.change, header.picker.change], lab.show, everything, lab.drawn, **BARE)
    denoising.text.change(None, denoising.text, lab.text, js="(text) => text")
    return lab


def _connect_work(shown: Shown, shelf: Shelf, header: Header) -> None:
    """The buttons of a view that works for longer; it goes on beside the runs of other visitors, and other views."""
    working = forgotten_with_the_session(OneAtATime())

    def carry_out(checkpoint: Any, *held: Any) -> Iterator[dict[gr.components.Component, Any]]:
        *values, working = held
        yield from shown.carried_out(shelf.get(checkpoint), values, working)

    shown.run.click(
        carry_out,
        [header.picker, *shown.controls.values(), working],
        [*shown.drawn, shown.run, shown.halt],
        concurrency_id="model",
        concurrency_limit=AT_ONCE,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )
    shown.halt.click(OneAtATime.stop, working, None, queue=False, show_progress="hidden", api_visibility="private")


def add_address(lab: LabTab, shelf: Shelf, header: Header, tabs: gr.Tabs, denoising: DenoiseTab) -> None:
    """What listens to links; must be called inside a Blocks context and outside of the tabs, to be there at once."""
    address = LabAddress(elem_id="lab-address", elem_classes=["dd-plain"])

    def open_link(text, length, chosen, event: gr.EventData) -> dict:
        """A link: the tab, the view and its settings as it says, and the checkpoint that it was made with."""
        try:
            view, values, checkpoint = read_fragment(data_of(event).get("fragment"), VIEWS)
            resident = shelf[checkpoint] if checkpoint else None
        except InputError as problem:
            return {tabs: gr.Tabs(selected=TAB), lab.refusal: tell(str(problem), "error")}
        shown = lab.shown[view.name]
        filled = {tabs: gr.Tabs(selected=TAB), lab.choice: view.name, lab.refusal: tell("")}
        kept = {"text"} if not values.get("text") else set()  # a link without a text means the one that is there
        filled |= {shown.controls[name]: value for name, value in values.items() if name not in kept}
        if resident and not is_chosen(resident.id, chosen):
            filled |= {header.picker: resident.id, header.chosen: about(resident.start(again=True))}
            filled |= denoising.switched(resident, values.get("text") or text, length)
        return filled

    held = [denoising.text, denoising.length, header.chosen]
    page = [tabs, lab.choice, lab.refusal, *lab.outputs, header.picker, header.chosen, *denoising.switching]
    opened = address.open_link(open_link, held, page, **QUIET | {"trigger_mode": "multiple"})
    opened.then(None, lab.choice, None, js=SHOW_VIEW)


def lab_css() -> str:
    """The tab's own style sheet, and the rules that show one view at a time."""
    hidden = [f'html:not([data-lab="{name}"]) #lab-{name} {{ display: none !important; }}' for name in VIEWS]
    return "\n".join([(HERE / "lab.css").read_text(encoding="utf-8"), *hidden])
