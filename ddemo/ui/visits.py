"""What the server remembers of a visit: the run on the visitor's canvas, and nobody else's."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ddemo.errors import InputError
from ddemo.trace import Trace
from ddemo.ui.examples import example_of

AT_ONCE = 8  # runs that share the engine's batch; others wait in the queue
KEPT_RUNS, KEPT_OF_VISIT = 64, 8
GONE = "The server no longer has this run (it may have restarted): press Denoise to begin a new one."


@dataclass
class Work:
    """Something that is under way for a visitor.

    Attributes:
        stop: raised by the Stop button, or by the next work in its place; read between two steps.
    """

    stop: bool = False

    def stopped(self) -> bool:
        return self.stop


@dataclass
class OneAtATime:
    """A visitor's work of one kind, of which one piece is under way at most.

    Attributes:
        now: what began last.
    """

    now: Work = field(default_factory=Work)

    def begin(self) -> Work:
        """New work; the one before ends at its next step."""
        self.stop()
        self.now = Work()
        return self.now

    def stop(self) -> None:
        self.now.stop = True


@dataclass
class Visit:
    """A visitor's runs, newest last; kept in the page's session state.

    Attributes:
        runs: run id -> trace, the last few, so that an edit can go back to one before.
        talk: id of the run that answered last in the visitor's conversation; "" where a new one begins.
        denoising, looking: runs, and second looks at one.
    """

    runs: "OrderedDict[str, Trace]" = field(default_factory=OrderedDict)
    talk: str = ""
    denoising: OneAtATime = field(default_factory=OneAtATime)
    looking: OneAtATime = field(default_factory=OneAtATime)

    def remember(self, run: str, trace: Trace) -> None:
        """Keep a run, and give up the oldest of too many, but not the one that a conversation goes on from."""
        self.runs[run] = trace
        while len(self.runs) > KEPT_OF_VISIT:
            del self.runs[next(old for old in self.runs if old != self.talk)]

    def find(self, run: object) -> Trace:
        """The run that a page names: one of the visitor's own, or a checkpoint's recorded one.

        A recorded run is shared; a visitor who learnt more of it has a copy among their own.

        Raises:
            InputError: there is none of that name.
        """
        trace = self.runs.get(run) or example_of(run) if isinstance(run, str) else None
        if trace is None:
            raise InputError(GONE)
        return trace


class SentMessages:
    """The messages of recent runs under their unguessable ids, for a browser that missed some."""

    def __init__(self, kept: int = KEPT_RUNS):
        self._kept = kept
        self._lock = threading.Lock()
        self._sent: OrderedDict[str, list[str]] = OrderedDict()
        self._first: dict[str, int] = {}

    def next_of(self, run: str, otherwise: int) -> int:
        """The number of the run's next message; `otherwise` where none of its messages are kept."""
        with self._lock:
            return self._first[run] + len(self._sent[run]) if run in self._sent else otherwise

    def add(self, run: str, message: str, number: int = 0) -> str:
        """Keep a message; `number` is what it has if it is the first that is kept of its run."""
        with self._lock:
            if run not in self._sent:
                self._sent[run], self._first[run] = [], number
            self._sent[run].append(message)
            while len(self._sent) > self._kept:
                gone, _ = self._sent.popitem(last=False)
                del self._first[gone]
        return message

    def since(self, run: str, number: int) -> str:
        """A JSON list of the run's messages from `number` on; empty for a run that is not known."""
        with self._lock:
            known = isinstance(run, str) and run in self._sent
            sent, first = (list(self._sent[run]), self._first[run]) if known else ([], 0)
        begin = max(number - first, 0) if isinstance(number, int) else 0
        return f"[{','.join(sent[begin:])}]"


def forgotten_with_the_session(first: Any) -> gr.State:
    """A state that begins as a copy of `first` for each session; must be called inside a Blocks context.

    Gradio forgets only what was set once a session has closed, so it is set when the page has loaded. It is set to
    itself: a visitor may have begun something with it before a busy server gets to that.
    """
    state = gr.State(first)
    gr.on(None, _same, state, state, queue=False, show_progress="hidden", api_visibility="private")
    return state


def _same(held: Any) -> Any:
    return held


def data_of(event: gr.EventData) -> dict[str, Any]:
    """What the browser sent with an event; empty when that is no table of names and values."""
    return event._data if isinstance(event._data, dict) else {}


def new_run_id() -> str:
    return secrets.token_urlsafe(12)
