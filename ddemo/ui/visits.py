"""What the server remembers of a visit: the run on the visitor's canvas, and nobody else's."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from ddemo.errors import InputError
from ddemo.trace import Trace
from ddemo.ui.examples import example_of

AT_ONCE = 8  # runs that share the engine's batch; others wait in the queue
KEPT_RUNS = 64
GONE = "The server no longer has this run (it may have restarted): press Denoise to begin a new one."


@dataclass
class Visit:
    """A visitor's runs, newest last; kept in the page's session state.

    Attributes:
        runs: run id -> trace, the last few, so that an edit can go back to one before.
        talk: id of the run that answered last in the visitor's conversation; "" where a new one begins.
        stop: raised by the Stop button, read between two steps.
        look_stop: the same for a second look at a run.
    """

    runs: "OrderedDict[str, Trace]"
    talk: str = ""
    stop: bool = False
    look_stop: bool = False

    @classmethod
    def new(cls) -> "Visit":
        return cls(OrderedDict())

    def remember(self, run: str, trace: Trace) -> None:
        self.runs[run] = trace
        while len(self.runs) > 8:
            self.runs.popitem(last=False)

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


def new_run_id() -> str:
    return secrets.token_urlsafe(12)
