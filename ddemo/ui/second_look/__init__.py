"""A second look at the run on the canvas, on demand: exact values, and clashes of tokens committed together.

Both put rows through the denoiser past the engine, a few at a time, so that other visitors' runs go on in between.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import gradio as gr

from ddemo.denoisers import Checkpoint
from ddemo.errors import InputError
from ddemo.rescoring import FinalScores, Hazard, final_scores, parallel_hazard
from ddemo.trace import Trace
from ddemo.ui.examples import example_of
from ddemo.ui.resident import StoppedWaiting
from ddemo.ui.shelf import Shelf
from ddemo.ui.token_canvas.messages import Messages, dump
from ddemo.ui.visits import AT_ONCE, SentMessages, Visit, data_of

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
ROWS = 8  # that go through the denoiser at once: some tenths of a second, between which others have their turn
LOOKS = {"exact": (final_scores, "final_scores"), "clashes": (parallel_hazard, "hazard")}
MOST_MESSAGES = 1_000_000
UNEXPECTED = "Something went wrong on the server; the run is as it was."
MOUNT = "mountSecondLook(element, {trigger, watch: (seen) => watch('value', () => seen(props.value))});"

_told = count()


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class SecondLook(gr.HTML):
    """Offers the two looks for the run that the token canvas on the page shows; its value is what `tell` writes.

    Events: `look` {what, run, n} in `gr.EventData`, `n` being the number of the run's next message; `halt`.
    """

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(
            value,
            html_template=source("look.html"),
            js_on_load="\n".join([source("look.js"), MOUNT]),
            apply_default_css=False,
            **kwargs,
        )


def add_second_look(shelf: Shelf, sent: SentMessages, visit: gr.State, canvas: gr.HTML) -> SecondLook:
    """Lay it out and connect it to the canvas; must be called inside a Blocks context."""
    view = SecondLook(elem_id="second-look", elem_classes=["dd-plain"])
    looks = Looks(shelf, sent, canvas, view)
    view.look(
        looks.look,
        [visit],
        [canvas, view],
        concurrency_id="model",
        concurrency_limit=AT_ONCE,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )
    view.halt(halt, visit, None, queue=False, show_progress="hidden", api_visibility="private")
    return view


def halt(visit: Visit) -> None:
    """The look ends after the rows that are under way, and keeps what it has."""
    visit.looking.stop()


class Looks:
    """The streaming handler."""

    def __init__(self, shelf: Shelf, sent: SentMessages, canvas: Any, view: Any):
        self.shelf, self.sent = shelf, sent
        self.canvas, self.view = canvas, view

    def look(self, visit: Visit, event: gr.EventData) -> Iterator[dict]:
        """Go through a run again, saying how far it is, and hand the canvas what was found."""
        asked = data_of(event)
        run, what, number = asked.get("run"), asked.get("what"), asked.get("n")
        say = partial(self._say, run, what)
        ours = visit.looking.begin()
        try:
            if not isinstance(what, str) or what not in LOOKS:
                raise InputError("A second look is one for exact values or one for clashes.")
            trace = visit.find(run)
            resident = self.shelf.maker_of(trace)
            if not resident.loaded:
                yield say("waiting", say=f"Loading {resident.id}: this begins as soon as it is there.")
                resident.await_weights(ours.stopped)
            work, name = LOOKS[what]
            with resident.at_work() as (checkpoint, _):
                looking = _Looking(work, checkpoint, trace, ours.stopped)
                with closing(looking.progress()) as progress:
                    for done, total in progress:
                        yield say("working", done=done, all=total)
            if looking.found.steps:
                trace = _own(visit, run, trace)
                setattr(trace, name, _further(looking.found, getattr(trace, name)))
                yield say("done") | self._scores(run, trace, number)
            else:
                yield say("done", say="Stopped before anything was found.")
        except StoppedWaiting as told:
            yield say("done", say=str(told))
        except InputError as problem:
            yield say("refused", say=str(problem))
        except Exception:
            log.exception("a second look failed")
            yield say("refused", say=UNEXPECTED)

    def _say(self, run: Any, what: Any, state: str, **more: Any) -> dict:
        return {self.view: tell(run, what, state, **more)}

    def _scores(self, run: str, trace: Trace, number: Any) -> dict:
        """The message to the canvas. Of a recorded run none is kept, for that run is everybody's."""
        recorded = example_of(run) is not None
        known = number if type(number) is int and 0 <= number < MOST_MESSAGES else 0
        number = known if recorded else max(known, self.sent.next_of(run, known))
        message = Messages(run, trace).scores(number)
        return {self.canvas: message if recorded else self.sent.add(run, message, number)}


def tell(run: Any, what: Any, state: str, **more: Any) -> str:
    """The value of a SecondLook: state "waiting", "working" {done, all}, "done" or "refused", with `say`, a sentence.

    Numbered, since a value that stays the same is not delivered.
    """
    about = {"run": run, "what": what} if isinstance(run, str) and isinstance(what, str) else {}
    return dump({**about, "state": state, "say": "", **more, "id": next(_told)})


def _own(visit: Visit, run: str, trace: Trace) -> Trace:
    """The visitor's own trace of that run: the recorded one is shared, so they get a copy of it."""
    if visit.runs.get(run) is not trace:
        trace = replace(trace)
        visit.remember(run, trace)
    return trace


def _further(found: Any, before: Any) -> Any:
    """A look that was stopped does not take away from one that went further."""
    return before if before is not None and before.steps > found.steps else found


class _Looking:
    """A look that is carried out in a thread of its own, so that its progress can be told meanwhile.

    Attributes:
        found: what came of it, once `progress` has come to its end.
    """

    found: FinalScores | Hazard

    def __init__(self, work: Callable, checkpoint: Checkpoint, trace: Trace, stopped: Callable[[], bool]):
        self._closed = threading.Event()
        self._told: SimpleQueue = SimpleQueue()
        self._work = partial(
            work,
            checkpoint,
            trace,
            ROWS,
            stopped=lambda: stopped() or self._closed.is_set(),
            progress=lambda done, total: self._told.put((done, total)),
        )

    def progress(self) -> Iterator[tuple[int, int]]:
        """(rows done, rows in all) as they come. Closing it stops the work.

        Raises:
            Exception: whatever the work raised.
        """
        threading.Thread(target=self._carry_out, name="second-look", daemon=True).start()
        try:
            while isinstance(said := self._told.get(), tuple):
                yield said
        finally:
            self._closed.set()
        if isinstance(said, Exception):
            raise said
        self.found = said

    def _carry_out(self) -> None:
        try:
            self._told.put(self._work())
        except Exception as problem:
            self._told.put(problem)
