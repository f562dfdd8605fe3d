"""Networks of Transformers are built one at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK = 0.1  # seconds between two looks at whether somebody who waits still wants to

_BUILDING = threading.Lock()


def _nothing() -> None:
    pass


@contextmanager
def alone(check: Callable[[], None] = _nothing) -> Iterator[None]:
    """Nobody else builds or fills a network meanwhile, in whatever thread.

    The library changes functions of its own and torch's default type for the whole process while it does so, and then
    puts back what it found: of two at once, one may come out with its weights untied, and every one after them.

    Args:
        check: called again and again while others are waited for; what it raises ends the waiting.
    """
    while not _BUILDING.acquire(timeout=TICK):
        check()
    try:
        yield
    finally:
        _BUILDING.release()
