"""The handlers of the Models tab: open, check, fetch, load, use. They convert values, call what works, and answer."""

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gradio as gr

from ddemo.denoisers import find_checkpoint, hub, load_codec
from ddemo.denoisers.fit import in_bytes, used_memory
from ddemo.denoisers.loading import check_supported, pick_device
from ddemo.denoisers.stored import LoadStopped
from ddemo.errors import InputError
from ddemo.ui.chosen import Header, about, is_chosen, offered
from ddemo.ui.denoise import DenoiseTab
from ddemo.ui.models.panel import Subject, panel_of, use_of
from ddemo.ui.models.table import rows
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import data_of

log = logging.getLogger(__name__)

PAUSE = 0.25  # seconds between two reports of a load
KEPT_PLANS = 8
UNEXPECTED = "Something went wrong on the server; the checkpoint in use is as it was."
PUBLIC = "This page offers the checkpoints that its owner has listed, and no others."

_told = count(1)


@dataclass
class Errand:
    """What the server remembers of a visitor's stay at the Models tab.

    Attributes:
        left: names whose download or load the visitor has stopped, read while it is under way.
        plans: of downloads, by the names that were asked for; the last few.
    """

    left: set[str] = field(default_factory=set)
    plans: "OrderedDict[str, hub.Plan]" = field(default_factory=OrderedDict)

    def remember(self, name: str, plan: hub.Plan) -> None:
        self.plans[name] = plan
        while len(self.plans) > KEPT_PLANS:
            self.plans.popitem(last=False)


def say(**told: Any) -> str:
    """A message to the page: `rows` of the table, the `panel` of a checkpoint or news of it, `refused`."""
    return json.dumps({"n": next(_told), **told}, ensure_ascii=False)


def leave(errand: Errand, event: gr.EventData) -> None:
    """The visitor stops a download that is under way, of which what has arrived is kept, or a load."""
    errand.left.add(str(data_of(event).get("name")))


class Desk:
    """The handlers; each gives the view's message, and what else of the page changes."""

    def __init__(self, shelf: Shelf, header: Header, tabs: Any, view: Any, denoising: DenoiseTab):
        self.shelf, self.header, self.tabs = shelf, header, tabs
        self.view, self.denoising = view, denoising
        self.first = offered(shelf)  # what every page has when it is opened

    def show(self) -> dict:
        """The table as it is now, and the choices of the header's list: others may have added to them."""
        choices = offered(self.shelf)
        news = gr.skip() if choices == self.first else gr.update(choices=choices)
        return {self.view: say(rows=rows(self.shelf)), self.header.picker: news}

    def look(self, errand: Errand, event: gr.EventData) -> str:
        """Open a panel, or estimate for another use; the Hub is not asked."""
        return self._answered(data_of(event), lambda asked: say(panel=self._panel(errand, asked)))

    def check(self, errand: Errand, event: gr.EventData) -> Iterator[dict]:
        """Ask the Hub what a download would be."""

        def work(asked: dict[str, Any]) -> Iterator[dict]:
            name = Subject.of(self.shelf, asked.get("name"), errand.plans).name
            yield self._news(name, kind="check", text="Asking the Hub …")
            planned = hub.plan(name)
            check_supported(planned.config, planned.id.repository)
            errand.remember(name, planned)
            yield {self.view: say(panel=self._panel(errand, asked))}

        yield from self._streamed(event, work)

    def fetch(self, errand: Errand, event: gr.EventData) -> Iterator[dict]:
        """Download what a check found to be needed; it is shared with whoever else asks for it."""

        def work(asked: dict[str, Any]) -> Iterator[dict]:
            name = Subject.of(self.shelf, asked.get("name"), errand.plans).name
            planned = errand.plans.get(name)
            if planned is None:
                raise InputError("Check first what the download would be.")
            errand.left.discard(name)
            with closing(hub.fetching(planned)) as progress:
                for done in progress:
                    if name in errand.left:
                        raise hub.DownloadStopped(hub.stopped(planned))
                    text = f"{in_bytes(done) if done else 'Nothing'} of {in_bytes(planned.bytes)} is here."
                    yield self._news(name, kind="fetch", text=text, share=done / planned.bytes)
            yield self._news(name, kind="read", text="Reading what has arrived …")
            load_codec(find_checkpoint(name))  # brings the tokenizer that a checkpoint without one borrows
            told = self._panel(errand, asked) | {
                "say": f"{planned.id.repository} is on this machine: load it to use it."
            }
            yield {self.view: say(rows=rows(self.shelf), panel=told)}

        yield from self._streamed(event, work)

    def load(self, errand: Errand, event: gr.EventData) -> Iterator[dict]:
        """Load what is on disk and offer it, and try a turn of lanes for its memory.

        Where the load fails or is stopped, what was there before is there again.
        """

        def work(asked: dict[str, Any]) -> Iterator[dict]:
            subject, use = Subject.of(self.shelf, asked.get("name"), errand.plans), use_of(self.shelf, asked)
            if subject.directory is None:
                raise InputError(subject.problem or f"{subject.name} is not on this machine yet.")
            place = pick_device(self.shelf.device)
            before, began = used_memory(place), time.monotonic()
            force = asked.get("force") is True
            errand.left.discard(subject.name)

            def stopped() -> bool:
                return subject.name in errand.left

            def loaded_and_tried() -> Resident:
                resident = self.shelf.load(str(subject.directory), force, use.dtype, stopped)
                if not stopped():
                    resident.try_a_turn(use.length, use.lanes)
                return resident

            loading = Waiting(loaded_and_tried)
            while not loading.over(PAUSE):
                grown, passed = max(0, used_memory(place) - before), time.monotonic() - began
                text = f"Loading, {passed:.0f} s; the process has grown by {in_bytes(grown) if grown else 'nothing'}."
                text = "Stopping …" if stopped() else text
                yield self._news(subject.name, kind="load", text=text)
            resident: Resident = loading.result()
            told = self._panel(errand, asked | {"name": resident.id})
            yield {
                self.view: say(rows=rows(self.shelf), panel=told, instead=subject.name),
                self.header.picker: gr.update(choices=offered(self.shelf)),
            }

        yield from self._streamed(event, work)

    def use(self, chosen: str, text: Any, length: Any, event: gr.EventData) -> dict:
        """The visitor's checkpoint from now on: the header names it, and Denoise has the same text."""
        try:
            resident = self.shelf[data_of(event).get("name")]
        except InputError as problem:
            return {self.view: _refusal(data_of(event), str(problem))}
        to_denoise = {self.tabs: gr.Tabs(selected="denoise")}
        if is_chosen(resident.id, chosen):
            return to_denoise
        resident.start(again=True)
        picked = {self.header.picker: gr.update(choices=offered(self.shelf), value=resident.id)}
        switched = self.denoising.switched(resident, text, length)
        return to_denoise | picked | {self.header.chosen: about(resident)} | switched

    # ---------------------------------------------------------------- what they share

    def _panel(self, errand: Errand, asked: dict[str, Any]) -> dict[str, Any]:
        subject = Subject.of(self.shelf, asked.get("name"), errand.plans)
        return panel_of(self.shelf, subject, use_of(self.shelf, asked))

    def _news(self, name: str, **work: Any) -> dict:
        """How far something is; the rest of the panel stays as it is."""
        return {self.view: say(panel={"name": name, "work": work, "say": "", "kind": ""})}

    def _answered(self, asked: dict[str, Any], answer: Callable[[dict[str, Any]], str]) -> str:
        try:
            return answer(asked)
        except InputError as problem:
            return _refusal(asked, str(problem))
        except Exception:
            log.exception("a checkpoint could not be looked at")
            return _refusal(asked, UNEXPECTED)

    def _streamed(self, event: gr.EventData, work: Callable[[dict[str, Any]], Iterator[dict]]) -> Iterator[dict]:
        """What a handler yields, and one sentence where it fails."""
        asked = data_of(event)
        try:
            if self.shelf.public:
                raise InputError(PUBLIC)
            yield from work(asked)
        except InputError as problem:
            kind = "note" if isinstance(problem, hub.DownloadStopped | LoadStopped) else "error"
            yield {self.view: _refusal(asked, str(problem), kind)}
        except Exception:
            log.exception("an errand for a checkpoint failed")
            yield {self.view: _refusal(asked, UNEXPECTED)}


def _refusal(asked: dict[str, Any], sentence: str, kind: str = "error") -> str:
    name = asked.get("name")
    return say(refused={"name": name if isinstance(name, str) else "", "say": sentence, "kind": kind})


class Waiting:
    """Work in a thread of its own that can be waited for a little at a time; a visitor may leave it."""

    def __init__(self, work: Callable[[], Any]):
        self._work, self._done = work, threading.Event()
        self._value: Any = None
        self._problem: BaseException | None = None
        threading.Thread(target=self._run, name="errand", daemon=True).start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as problem:
            self._problem = problem
        finally:
            self._done.set()

    def over(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        return self._done.wait(seconds)

    def result(self) -> Any:
        """What came of it, once it is over. Raises what it raised."""
        if self._problem is not None:
            raise self._problem
        return self._value
