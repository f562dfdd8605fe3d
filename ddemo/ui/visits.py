"""What the server remembers of a visit: the run on the visitor's canvas, and nobody else's."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from ddemo.trace import Trace

AT_ONCE = 8  # runs that share the engine's batch; others wait in the queue
KEPT_RUNS = 64


@dataclass
class Visit:
    """A visitor's runs, newest last; kept in the page's session state.

    Attributes:
        runs: run id -> trace, the last few, so that an edit can go back to one before.
        stop: raised by the Stop button, read between two steps.
    """

    runs: "OrderedDict[str, Trace]"
    stop: bool = False

    @classmethod
    def new(cls) -> "Visit":
        return cls(OrderedDict())

    def remember(self, run: str, trace: Trace) -> None:
        self.runs[run] = trace
        while len(self.runs) > 8:
            self.runs.popitem(last=False)


class SentMessages:
    """The messages of recent runs under their unguessable ids, for a browser that missed some."""

    def __init__(self, kept: int = KEPT_RUNS):
        self._kept = kept
        self._lock = threading.Lock()
        self._sent: OrderedDict[str, list[str]] = OrderedDict()

    def add(self, run: str, message: str) -> str:
        with self._lock:
            self._sent.setdefault(run, []).append(message)
            while len(self._sent) > self._kept:
                self._sent.popitem(last=False)
        return message

    def since(self, run: str, number: int) -> str:
        """A JSON list of the run's messages from `number` on; empty for a run that is not known."""
        with self._lock:
            sent = list(self._sent.get(run, ())) if isinstance(run, str) else []
        first = number if isinstance(number, int) and number > 0 else 0
        return f"[{','.join(sent[first:])}]"


def new_run_id() -> str:
    return secrets.token_urlsafe(12)
