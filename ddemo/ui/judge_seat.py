"""The judge of a running server: loaded once, in the background, when the first comparison asks for it."""

import importlib.util
import threading
from collections.abc import Callable

from ddemo.errors import InputError
from ddemo.judge import CARRIER, Judge, load_judge
from ddemo.measures import NO_JUDGE

PATIENCE = 0.2  # seconds between two looks at whether it is there


class JudgeSeat:
    """An optional judge (`ddemo.judge`), shared by all visitors.

    Args:
        name: a path or Hub id from the server's owner, or "none"; None for the one that is installed, if any.
    """

    def __init__(self, name: str | None = None):
        self.name = name
        self.problem = NO_JUDGE
        self._judge: Judge | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def offered(self) -> bool:
        """Whether there is one to ask, as far as can be told without loading it."""
        if self.name is not None:
            return self.name != "none"
        return importlib.util.find_spec(CARRIER) is not None

    def ask(self, stopped: Callable[[], bool] = lambda: False) -> Judge | None:
        """The judge, waiting for it; None when there is none, and `problem` says why."""
        if not self.offered:
            return None
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._load, name="judge", daemon=True)
                self._thread.start()
        while self._thread.is_alive() and not stopped():
            self._thread.join(PATIENCE)
        return self._judge

    @property
    def waiting(self) -> bool:
        """Whether asking would have to wait."""
        return self.offered and self._judge is None and (self._thread is None or self._thread.is_alive())

    def _load(self) -> None:
        self.problem = "The judge was still being loaded."
        try:
            self._judge = load_judge(self.name)
        except InputError as problem:
            self.problem = str(problem)
