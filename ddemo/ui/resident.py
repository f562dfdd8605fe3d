"""A checkpoint that a running server holds and the engine that its visitors share, loaded beside the page."""

import threading
from functools import cached_property

from ddemo.compare.lanes import pace_of
from ddemo.denoisers import Checkpoint, TextCodec, find_checkpoint, load_checkpoint, load_codec
from ddemo.denoisers.loading import canvas_limit_of, process_of, recommended_of
from ddemo.errors import InputError
from ddemo.sampling import Engine, FillRules
from ddemo.settings import Usual


class Resident:
    """Loads one checkpoint in the background and hands it out when it is there.

    Its codec, its limit, its noise process and how it is usually run are read at construction, which is quick: the
    page is there and text can be shown as tokens before the weights have come.

    Raises:
        InputError: at construction, when the files already tell that the checkpoint cannot be loaded.
    """

    def __init__(self, name: str, device: str = "auto", dtype: str = "auto"):
        self.directory = find_checkpoint(name)
        self.id = self.directory.name
        self.codec: TextCodec = load_codec(self.directory)
        self.max_length = canvas_limit_of(self.directory)
        self.process = process_of(self.directory)
        self.usual = Usual.of(self.process, recommended_of(self.directory))
        self._arguments = (name, device, dtype)
        self._checkpoint: Checkpoint | None = None
        self._engine: Engine | None = None
        self._problem = ""
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> "Resident":
        """Begin to load, if nobody has yet."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._load, name="checkpoint", daemon=True)
                self._thread.start()
        return self

    @property
    def loading(self) -> bool:
        return self._checkpoint is None and not self._problem

    def get(self) -> Checkpoint:
        """The checkpoint, loading and waiting for it if need be.

        Raises:
            InputError: it could not be loaded.
        """
        self.start()._thread.join()
        if self._problem:
            raise InputError(self._problem)
        return self._checkpoint

    @property
    def engine(self) -> Engine:
        """Runs the lanes of all visitors in one batch. Waits and raises as `get`."""
        self.get()
        return self._engine

    @cached_property
    def pace(self) -> float:
        """Seconds that a token takes in a turn, measured once, for estimates. Waits and raises as `get`."""
        return pace_of(self.get())

    def _load(self) -> None:
        try:
            checkpoint = load_checkpoint(*self._arguments)
            assert checkpoint.revision  # hashed once, here rather than in a visitor's first run
            self._engine = Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec))
            self._checkpoint = checkpoint
        except InputError as problem:
            self._problem = str(problem)
        except Exception as problem:  # a visitor must get a sentence whatever went wrong
            self._problem = f"{self.id} could not be loaded ({type(problem).__name__})."
