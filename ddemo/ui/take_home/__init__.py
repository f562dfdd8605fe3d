"""Taking a run home: trace file, replay page, link and code; and opening a trace file or a link."""

import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ddemo.errors import InputError
from ddemo.permalink import EDITED, Permalink, read_fragment
from ddemo.rerun import made_elsewhere
from ddemo.sampling import check_cache, check_process
from ddemo.snippets import snippets_of
from ddemo.trace import LARGEST_FILE, Trace
from ddemo.ui.chosen import Header, about
from ddemo.ui.controls import CHOICE
from ddemo.ui.notice import tell
from ddemo.ui.replay import replay_page
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf
from ddemo.ui.token_canvas.messages import Messages, dump
from ddemo.ui.visits import Visit, data_of, new_run_id

if TYPE_CHECKING:
    from ddemo.ui.denoise import DenoiseTab

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
MOUNT = f"""
mountTakeHome(element, {{
  trigger, largest: {LARGEST_FILE}, watch: (seen) => watch('value', () => seen(props.value)),
}});
"""
QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
UNEXPECTED = "Something went wrong on the server; the run is as it was."
LINKED = "This link describes a run: press Denoise to make it again."
LONGEST_NAME = 80


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class TakeHome(gr.HTML):
    """The row of buttons; its value is an answer to what was asked last.

    Events, each with its data in `gr.EventData`: `take` {run, what, address, asked}, `open_file` {name, text, asked},
    `open_link` {fragment}. Its style sheet is `source("panel.css")`, which needs the palette of the token canvas.
    """

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(
            value,
            html_template=source("panel.html"),
            js_on_load="\n".join([source("panel.js"), MOUNT]),
            apply_default_css=False,
            **kwargs,
        )

    def postprocess(self, value: str | None) -> str | None:
        """The answer as it is: it reaches the page as data, so markup in it needs no warning."""
        return value


def add_take_home(shelf: Shelf, visit: gr.State, header: Header, tab: "DenoiseTab") -> TakeHome:
    """Lay it out and connect it; must be called inside a Blocks context.

    Args:
        tab: what is around it.
    """
    view = TakeHome(elem_id="take-home", elem_classes=["dd-plain"])
    asked = gr.State(None)
    desk = Desk(shelf, header, tab, asked)
    view.take(desk.take, visit, view, **QUIET)
    view.open_file(desk.open_file, visit, [tab.canvas, view], **QUIET)
    page = [header.picker, header.chosen, *tab.switching, tab.new_seed, asked]
    filled = view.open_link(desk.open_link, None, page, **QUIET)
    # Choosing a sampler sets its own settings to their defaults, in the browser: those of the link come after that.
    filled.then(desk.settle, asked, tab.controls.components, **QUIET)
    return view


class Desk:
    """The handlers; they convert values, call what makes things, and answer."""

    def __init__(self, shelf: Shelf, header: Header, tab: "DenoiseTab", asked: gr.State):
        self.shelf, self.header, self.tab, self.asked = shelf, header, tab, asked

    def take(self, visit: Visit, event: gr.EventData) -> str:
        """A file, a link or code of one of the visitor's runs."""
        asked = data_of(event)
        return _answered(asked, lambda: self._taken(visit.find(asked.get("run")), asked))

    def _taken(self, trace: Trace, asked: dict[str, Any]) -> dict[str, Any]:
        edited = len(trace.segments) > 1
        if asked.get("what") == "trace":
            return _file(trace, "json", "application/json", trace.to_json())
        if asked.get("what") == "replay":
            return _file(trace, "html", "text/html", replay_page(trace))
        if asked.get("what") == "link":
            return {"k": "link", "fragment": Permalink.of(trace).fragment(), "say": EDITED if edited else ""}
        if asked.get("what") == "code":
            made = snippets_of(trace, asked.get("address"), file_name(trace, "json"))
            return {"k": "code", "package": made.package, "client": made.client, "note": made.note}
        raise InputError("What can be taken is a trace file, a replay page, a link or code.")

    def open_file(self, visit: Visit, event: gr.EventData) -> tuple[Any, str]:
        """A trace file: the canvas's message, or none where the file cannot be opened."""
        asked, shown = data_of(event), []
        name = _printable(asked.get("name"))

        def open_it() -> dict[str, Any]:
            trace = Trace.from_json(asked.get("text"))
            run = new_run_id()
            shown.append(Messages(run, trace, f"Opened from {name}.").whole())
            visit.remember(run, trace)
            stranger = self._stranger(trace.checkpoint["id"], lambda here: made_elsewhere(trace, here.get()))
            only = f" {stranger} It can be looked at, but not continued." if stranger else ""
            return {"k": "opened", "run": run, "say": f"{name} is on the canvas.{only}"}

        answer = _answered(asked, open_it)
        return (shown[0] if shown else gr.skip()), answer

    def open_link(self, event: gr.EventData) -> dict:
        """A link: the page's checkpoint and fields as it says, with a notice; nothing is run."""
        try:
            link = read_fragment(data_of(event).get("fragment"))
            resident = self.shelf.get(link.checkpoint)
            check_process(link.config, resident.process, resident.id)
            check_cache(link.config, resident.caches, resident.id)
        except InputError as problem:
            return {self.tab.notice: tell(str(problem), "error"), self.asked: None}
        settings = link.config.as_dict()
        stranger = self._stranger(link.checkpoint, lambda here: _other_weights(link, here))
        said = f"{LINKED} {stranger} What comes out may differ." if stranger else LINKED
        filled = self.tab.switched_for_text(resident, link.text, link.length, settings[CHOICE])
        for name, control in self.tab.controls.inputs.items():
            if name in settings and name != CHOICE:
                filled[control] = gr.update(**filled[control] | {"value": settings[name]})
        filled[self.tab.text] = gr.update(**filled[self.tab.text] | {"value": link.text})
        filled[self.tab.canvas] = self.tab.draft(resident, link.text, link.length)
        filled[self.tab.length] = link.length or gr.skip()
        filled |= {self.tab.notice: tell(said), self.tab.new_seed: False, self.asked: settings}
        return filled | {self.header.picker: resident.id, self.header.chosen: about(resident)}

    def settle(self, settings: dict[str, Any] | None) -> list[Any]:
        """The link's settings once more, over what the choice of its sampler has set."""
        settings = settings or {}
        return [settings[name] if name in settings else gr.skip() for name in self.tab.controls.names]

    def _stranger(self, made_with: str, compare: Callable[[Resident], str]) -> str:
        """Why something was made by other weights than those here, as far as is known without waiting."""
        if made_with not in self.shelf:
            return f"It was made with {made_with}, which this page does not offer."
        here = self.shelf[made_with]
        try:
            return "" if here.loading else compare(here)
        except InputError:  # nothing is loaded, which whoever wants to run is told
            return ""


def _other_weights(link: Permalink, resident: Resident) -> str:
    """Why a link was made by another revision of a checkpoint that is loaded; "" where it was not."""
    loaded = resident.get().revision
    if link.revision == loaded:
        return ""
    return f"It was made with revision {link.revision} of {link.checkpoint}, and revision {loaded} is loaded."


def file_name(trace: Trace, ending: str) -> str:
    """ddemo-classics-mdm-confidence-seed7.json, of characters that every system takes."""
    made = f"ddemo-{trace.checkpoint['id']}-{trace.config.sampler}-seed{trace.config.seed}"
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', made)}.{ending}"


def _file(trace: Trace, ending: str, kind: str, content: str) -> dict[str, Any]:
    name = file_name(trace, ending)
    return {"k": "file", "name": name, "type": kind, "content": content, "say": f"Saved as {name}."}


def _answered(asked: dict[str, Any], make: Callable[[], dict[str, Any]]) -> str:
    """The value of `TakeHome`: what was made, or one sentence, under the number of the question."""
    number = asked.get("asked")
    number = number if type(number) is int else 0
    try:
        return dump(make() | {"asked": number})
    except InputError as problem:
        return dump({"k": "refused", "asked": number, "say": str(problem)})
    except Exception:
        log.exception("a run could not be taken or opened")
        return dump({"k": "refused", "asked": number, "say": UNEXPECTED})


def _printable(name: Any) -> str:
    """A file's name for a sentence."""
    name = name if isinstance(name, str) and name.isprintable() and name else "the file"
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
