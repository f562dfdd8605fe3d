"""A checkpoint that a running server holds and the engine that its visitors share, loaded beside the page."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import NamedTuple

import torch

from ddemo.compare.lanes import growth_in_a_turn, pace_of
from ddemo.denoisers import Checkpoint, TextCodec, find_checkpoint, load_checkpoint, load_codec
from ddemo.denoisers.fit import CANVAS, LANES, Fit, Use, free_memory, give_back, used_memory
from ddemo.denoisers.hub import id_of
from ddemo.denoisers.loading import (
    DTYPES,
    LEAST_CANVAS,
    caches_of,
    canvas_limit_of,
    fit_of,
    pick_device,
    pick_dtype,
    process_of,
    recommended_of,
)
from ddemo.denoisers.stored import LoadStopped
from ddemo.errors import InputError
from ddemo.sampling import Engine, FillRules
from ddemo.settings import Usual

log = logging.getLogger(__name__)

TICK = 0.1  # seconds between two looks at whether waiting was stopped


class StoppedWaiting(Exception):
    """A visitor stopped what waited for weights; the sentence says so."""


class Turn(NamedTuple):
    """A first turn of lanes that was tried: what of, and the bytes beside the weights, estimated and measured."""

    use: Use
    estimated: int
    measured: int


class Held(NamedTuple):
    """What is loaded; read in one go, since it may be unloaded at any time."""

    checkpoint: Checkpoint
    engine: Engine


class Resident:
    """Loads one checkpoint in the background and hands it out when it is there.

    Its codec, its limit, its noise process, its caches and how it is usually run are read at construction, which is
    quick: the page is there and text can be shown as tokens before the weights have come.

    Attributes:
        room: gives a context in which this resident may load, once there is memory for it; set by its shelf.
        force: load it even where it does not fit into the memory.
        dtype: type of the weights, as `load_checkpoint` takes it; one that is set later counts from the next load.
        grown: bytes by which the process grew when it was last loaded, with whatever else went on meanwhile.
        turn: the turn of lanes that `try_a_turn` measured last; None before.

    Raises:
        InputError: at construction, when the files already tell that the checkpoint cannot be loaded.
    """

    def __init__(self, name: str, device: str = "auto", dtype: str = "auto", force: bool = False):
        self.directory = find_checkpoint(name)
        self.id = id_of(self.directory)
        self.codec: TextCodec = load_codec(self.directory)
        self.max_length = canvas_limit_of(self.directory)
        self.process = process_of(self.directory)
        self.caches = caches_of(self.directory)
        self.usual = Usual.of(self.process, recommended_of(self.directory))
        self.room: Callable[[Resident], AbstractContextManager] = nullcontext
        self.force, self.dtype = force, dtype
        self.grown = 0
        self.turn: Turn | None = None
        self._name, self._device = name, device
        self._held: Held | None = None
        self._problem = ""
        self._stopped = False  # the last load was, which is no failure
        self._used, self._workers = 0.0, 0
        self._starting = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, again: bool = False) -> "Resident":
        """Begin to load, if nobody has yet.

        Args:
            again: once more where it could not be loaded before, for whoever asks for it anew: memory that it lacked
                may be free by now.
        """
        with self._starting:
            if self._thread is None or (not self._thread.is_alive() and (self._stopped or (again and self._problem))):
                self._problem, self._stopped, self._stop = "", False, threading.Event()
                self._thread = threading.Thread(target=self._load, name="checkpoint", daemon=True)
                self._thread.start()
        return self

    @property
    def loading(self) -> bool:
        return self._held is None and not self._problem

    @property
    def loaded(self) -> bool:
        """Whether its weights are in memory."""
        return self._held is not None

    @property
    def problem(self) -> str:
        """Why it could not be loaded; "" where it was, or was not asked for."""
        return self._problem

    @property
    def used(self) -> float:
        """When it was last asked for, in seconds of a clock of its own."""
        return self._used

    @property
    def busy(self) -> bool:
        """Whether it is at work, which giving up its weights would not end, so that no memory would come of it."""
        return self._workers > 0 or self.lanes > 0

    def get(self) -> Checkpoint:
        """The checkpoint, loading and waiting for it if need be.

        Raises:
            InputError: it could not be loaded.
        """
        return self._get().checkpoint

    def get_unless(self, stopped: Callable[[], bool]) -> Checkpoint:
        """As `get`, but whoever stops waiting here stops the loading.

        Raises:
            LoadStopped: so it was.
        """
        while True:
            thread = self.start()._thread
            while thread is not None and thread.is_alive():
                if stopped():
                    self._stop.set()
                thread.join(TICK)
            if self._held is not None or self._problem:
                return self.get()
            if stopped():
                raise LoadStopped(f"Loading {self.id} was stopped.")

    def await_weights(self, stopped: Callable[[], bool]) -> None:
        """Wait until loading is over, so that `get` does not wait; what could not be loaded before is tried again.

        Who stops waiting does not stop the loading, which others may wait for as well; and where somebody has stopped
        it, it begins again.

        Raises:
            StoppedWaiting: somebody stopped before.
        """
        self.start(again=True)
        while not stopped():
            if not self.loading:
                return
            thread = self.start()._thread
            if thread is not None:
                thread.join(TICK)
        raise StoppedWaiting(f"Stopped before {self.id} was asked anything.")

    @property
    def weight_bytes(self) -> int:
        """Memory that its weights take; 0 where they are not loaded."""
        held = self._held
        return held.checkpoint.weight_bytes if held else 0

    @property
    def lanes(self) -> int:
        """How many lanes of its engine are under way."""
        held = self._held
        return held.engine.lanes if held else 0

    @contextmanager
    def at_work(self) -> Iterator[Held]:
        """What is loaded, which gives way to no other checkpoint meanwhile. Waits and raises as `get`."""
        with self._starting:
            self._workers += 1
        try:
            yield self._get()
        finally:
            with self._starting:
                self._workers -= 1

    @cached_property
    def pace(self) -> float:
        """Seconds that a token takes in a turn, measured once, for estimates. Waits and raises as `get`."""
        with self.at_work() as held:
            return pace_of(held.checkpoint)

    def fit(self, length: int = CANVAS, lanes: int = LANES) -> Fit:
        """What an ordinary visit needs beside the weights, against the memory that is free now. Raises InputError."""
        place = pick_device(self._device)
        return fit_of(self.directory, place, pick_dtype(self.dtype, place), min(length, self.max_length), lanes)

    def could_fit(self, freed: int) -> bool:
        """Whether so many bytes more would let it load, as far as its files tell. Raises InputError."""
        least = self.fit(LEAST_CANVAS, 1)
        return self.force or least.need.total <= least.free + freed

    def try_a_turn(self, length: int, lanes: int) -> None:
        """Measure the memory of a turn, of no more lanes and tokens than an ordinary visit has. Waits as `get`.

        Where it does not fit, or fails, nothing is measured: the checkpoint is there all the same.
        """
        place = pick_device(self._device)
        with self.at_work() as (checkpoint, _):
            use = Use(checkpoint.dtype, min(length, CANVAS, self.max_length), min(lanes, LANES))
            try:
                need = fit_of(self.directory, place, getattr(torch, use.dtype), use.length, use.lanes).need
                if need.turn <= free_memory(place):
                    self.turn = Turn(use, need.turn, growth_in_a_turn(checkpoint, use.length, use.lanes))
            except Exception:
                log.warning("a turn of %s could not be measured", self.id, exc_info=True)

    def can_be(self, dtype: str) -> bool:
        """Whether it is loaded, and could be so in that other type of weights; a table of exact numbers could not."""
        held = self._held
        return (
            held is not None
            and held.checkpoint.dtype in DTYPES
            and dtype in DTYPES
            and held.checkpoint.dtype != dtype
        )

    def unload(self) -> None:
        """Give up the weights; whoever asks next has them loaded again. Runs under way keep what they have."""
        with self._starting:
            if self._thread is not None and not self._thread.is_alive():
                self._thread, self._held, self._problem, self.turn = None, None, "", None
                self.__dict__.pop("pace", None)
        _release()

    def _get(self) -> Held:
        while True:
            thread = self.start()._thread
            if thread is not None:
                thread.join()
            self._used = time.monotonic()
            held, problem = self._held, self._problem
            if held is not None:
                return held
            if problem:
                raise InputError(problem)

    def _load(self) -> None:
        try:
            if not self.directory.is_dir():  # said here, since loading would name the path, which is the owner's
                raise InputError(f"{self.id} is no longer where it was when it was listed.")
            with self.room(self):
                before = used_memory(place := pick_device(self._device))
                checkpoint = load_checkpoint(self._name, self._device, self.dtype, self.force, self._stop.is_set)
                self.grown = max(0, used_memory(place) - before)
                assert checkpoint.revision  # hashed once, here rather than in a visitor's first run
                if self._stop.is_set():  # while it was hashed
                    raise LoadStopped(f"Loading {self.id} was stopped.")
                self._held = Held(checkpoint, Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec)))
        except LoadStopped:
            self._stopped = True
            _release()
        except InputError as problem:
            self._problem = str(problem)
        except Exception as problem:  # a visitor must get a sentence whatever went wrong
            self._problem = f"{self.id} could not be loaded ({type(problem).__name__})."


def _release() -> None:
    """Memory that nothing holds any more goes back to the machine."""
    gc.collect()
    give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
