"""The engine: one denoiser, and the lanes of all who use it in one batch that they join and leave between steps."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from ddemo.denoisers.base import Denoiser
from ddemo.sampling.frame import Frame
from ddemo.sampling.loop import Lane, denoise
from ddemo.sampling.rules import FillRules

log = logging.getLogger(__name__)

LEAD = 4  # frames that a lane may be ahead of its reader: a reader who is slow or gone costs no more than these


class Engine:
    """Runs `denoise` over the lanes of all callers, in one thread that rests while there is nothing to do.

    Args:
        denoiser: what all lanes are run with.
        rules: what may be written where.
    """

    def __init__(self, denoiser: Denoiser, rules: FillRules | None = None):
        self.denoiser = denoiser
        self.rules = rules or FillRules.mask_only(denoiser.vocab_size, denoiser.mask_id)
        self._changed = threading.Condition()
        self._callers: list[_Caller] = []
        self._thread: threading.Thread | None = None

    def run(self, lanes: Sequence[Lane]) -> Iterator[list[tuple[Lane, Frame]]]:
        """Join with these lanes and yield their frames as they come, one or more lanes at a time.

        Closing the iterator takes the lanes out. A lane that fails says so in `Lane.failure`; the others go on.
        """
        caller = _Caller(lanes)
        with self._changed:
            self._callers.append(caller)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            while (frames := self._next(caller)) is not None:
                yield frames
        finally:
            with self._changed:
                caller.leave()
                self._callers = [other for other in self._callers if other is not caller]
                self._changed.notify_all()

    @property
    def lanes(self) -> int:
        """How many lanes are under way."""
        with self._changed:
            return sum(len(caller.lanes) for caller in self._callers)

    def _next(self, caller: "_Caller") -> list[tuple[Lane, Frame]] | None:
        """The caller's next frames, waiting for them; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: caller.frames or caller.done)
            if not caller.frames:
                return None
            frames = caller.frames.popleft()
            self._changed.notify_all()
            return frames

    def _work(self) -> None:
        """The engine's thread: turn after turn, for as long as any caller is there."""
        while self._wait_for_work():
            try:
                for turn in denoise(self.denoiser, self._Roster(self), self.rules):
                    self._hand_out(turn)
            except Exception as problem:  # nothing that belongs to one lane alone; those raise in `denoise`
                log.exception("the engine had to give up its lanes")
                self._give_up(problem)
            self._hand_out([])  # the lanes that could take no further step are done

    def _wait_for_work(self) -> bool:
        """Wait until a lane may take a step; False, and the thread is over, once all callers have left."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready() or not self._callers)
            if not self._callers:
                self._thread = None
            return bool(self._callers)

    def _ready(self) -> list["_Caller"]:
        """Callers whose lanes may take a step; called with the lock held."""
        return [caller for caller in self._callers if len(caller.frames) < LEAD]

    class _Roster:
        """The lanes that take part in a turn, read anew by `denoise` at every turn."""

        def __init__(self, engine: "Engine"):
            self._engine = engine

        def __iter__(self) -> Iterator[Lane]:
            with self._engine._changed:
                return iter([lane for caller in self._engine._ready() for lane in caller.lanes])

    def _hand_out(self, turn: Sequence[tuple[Lane, Frame]]) -> None:
        """Give every caller its frames of a turn, and take out the callers whose lanes have all ended."""
        with self._changed:
            for caller in self._callers:
                if frames := [(lane, frame) for lane, frame in turn if lane in caller.lanes]:
                    caller.frames.append(frames)
                caller.done = not any(lane.prepared(self.denoiser) for lane in caller.lanes)
            self._callers = [caller for caller in self._callers if not caller.done]
            self._changed.notify_all()

    def _give_up(self, problem: Exception) -> None:
        with self._changed:
            for lane in (lane for caller in self._ready() for lane in caller.lanes):
                lane.failure = lane.failure or problem


class _Caller:
    """One call of `Engine.run`: its lanes, and the frames that were not read yet."""

    def __init__(self, lanes: Sequence[Lane]):
        self.lanes = list(lanes)
        self.frames: deque[list[tuple[Lane, Frame]]] = deque()
        self.done = False

    def leave(self) -> None:
        for lane in self.lanes:
            lane.cancelled = True
        self.done = True
