"""The page's handlers without a browser, and a served page that behaves as a test tells it to."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import pytest

from ddemo.denoisers import Checkpoint
from ddemo.sampling import Engine, FillRules, caches_of
from ddemo.settings import Usual
from ddemo.ui.chosen import kind_of
from ddemo.ui.controls import Controls
from ddemo.ui.conversation import Conversation
from ddemo.ui.denoise import DenoiseTab, _Wiring
from ddemo.ui.resident import Held, StoppedWaiting
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import SentMessages, Visit
from tests.ui.reader import Reader, ReadRun
from tests.ui.server import Served, serve, settings_values


def unsteered(width: int) -> None:
    """What a denoiser does before a call when no test steers it: nothing."""


class SteeredDenoiser:
    """The tiny denoiser, with a hook before each call: to wait, to raise, to count.

    Attributes:
        before: called with the number of tokens in the widest row.
        calls: how many calls there were.
    """

    def __init__(self, denoiser):
        self._denoiser = denoiser
        self.before = unsteered
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, tokens, times, lengths, wanted):
        self.calls += 1
        self.before(tokens.shape[1])
        return self._denoiser(tokens, times, lengths, wanted)


EXAMPLE_RUN = "example:tiny-mdm"  # of the recorded run, where a test stores one


class HeldCheckpoint:
    """Stands for a `Resident` whose checkpoint is there."""

    loading = busy = False
    loaded = True
    used = 0.0
    problem, grown, turn = "", 0, None

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.id, self.codec, self.directory = checkpoint.id, checkpoint.codec, checkpoint.directory
        self.max_length = checkpoint.denoiser.max_length
        self.process = checkpoint.denoiser.process
        self.caches = caches_of(checkpoint.denoiser)
        self.usual = Usual.of(self.process)
        self.engine = Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec))

    def start(self, again: bool = False) -> "HeldCheckpoint":
        return self

    @property
    def lanes(self) -> int:
        return self.engine.lanes

    @contextmanager
    def at_work(self) -> Iterator[Held]:
        yield Held(self.get(), self.engine)

    def get(self) -> Checkpoint:
        return self.checkpoint

    def await_weights(self, stopped: Callable[[], bool]) -> None:
        if stopped():
            raise StoppedWaiting("Stopped.")

    def can_be(self, dtype: str) -> bool:
        return False


@dataclass
class Shown:
    """What one press of a button made the page show, from its first update to its last.

    Attributes:
        updates: control -> value, one record an update.
        run: the run that was streamed, None when none was begun.
        id: its id.
    """

    updates: list[dict[str, Any]]
    run: ReadRun | None
    id: str | None

    def of(self, control: str) -> list[Any]:
        return [update[control] for update in self.updates if control in update]

    @property
    def notices(self) -> list[dict[str, str]]:
        return [json.loads(value) for value in self.of("notice")]

    @property
    def sentence(self) -> str:
        """What the notice says in the end."""
        return self.notices[-1]["text"]

    @property
    def is_idle(self) -> bool:
        """Whether Denoise is offered again, and Stop no longer."""
        return self.of("run_button")[-1]["visible"] is True and self.of("stop_button")[-1]["visible"] is False


class Page:
    """A visitor's page: its session, the messages it gets, the handlers behind its buttons."""

    OUTPUTS = ("canvas", "notice", "run_button", "stop_button", "seed", "log")

    def __init__(self, resident, sent: SentMessages | None = None):
        self.sent = sent or SentMessages()
        self.resident, self.shelf = resident, Shelf([resident])
        self.controls = Controls(kind_of(resident), resident.usual)
        self.wiring = _Wiring(self.shelf, self.sent, self.controls, list(self.OUTPUTS))
        self.visit = Visit()
        self.mode, self.system = "text", ""
        self.reader = Reader()

    def start(self, text: Any = "", length: Any = 8, new_seed: bool = False, **settings) -> Iterator[dict]:
        """The updates of a press on Denoise, one by one."""
        values = settings_values(self.controls, **{"steps": 8} | settings)
        request = (self.resident.id, text, length, new_seed)
        return self.wiring.denoise(*request, *values, self.mode, self.system, self.visit)

    def denoise(self, text: Any = "", length: Any = 8, new_seed: bool = False, **settings) -> Shown:
        return self.watch(self.start(text, length, new_seed, **settings))

    def resume(self, data: Any) -> Shown:
        return self.watch(self.wiring.resume(self.visit, gr.EventData(None, data)))

    def watch(self, updates: Iterator[dict]) -> Shown:
        seen = list(updates)
        known = set(self.reader.runs)
        for update in seen:
            if "canvas" in update:
                self.reader.take(update["canvas"])
        begun = [run for run in self.reader.runs if run not in known]
        assert len(begun) <= 1
        return Shown(seen, self.reader.runs[begun[0]] if begun else None, begun[0] if begun else None)


def denoise_tab_of_names(controls: Controls) -> DenoiseTab:
    """The Denoise tab with names where components are."""
    controls.inputs |= {name: name for name in controls.names}
    controls.about = "about"
    talk = object.__new__(Conversation)
    talk.all, talk.mode, talk.fresh, talk.system, talk.log = "talk", "mode", "fresh", "system", "log"
    chips = [f"chip {number}" for number in range(4)]
    return DenoiseTab("text", "length", "new_seed", controls, chips, "canvas", "notice", "carry", talk)


@pytest.fixture
def steered(tiny) -> SteeredDenoiser:
    return SteeredDenoiser(tiny.denoiser)


@pytest.fixture
def new_page(tiny, steered) -> Callable[[], Page]:
    """Makes pages of different visitors over one server."""
    resident, sent = HeldCheckpoint(replace(tiny, denoiser=steered)), SentMessages()
    return lambda: Page(resident, sent)


@pytest.fixture
def page(new_page) -> Page:
    return new_page()


@pytest.fixture(scope="session")
def _running(tiny) -> Iterator[Served]:
    denoiser = SteeredDenoiser(tiny.denoiser)
    with serve(HeldCheckpoint(replace(tiny, denoiser=denoiser))) as served:
        served.denoiser = denoiser
        yield served


@pytest.fixture
def served(_running) -> Iterator[Served]:
    """A real server on a free port, its denoiser unsteered before and after."""
    yield _running
    _running.denoiser.before = unsteered


@pytest.fixture
def gate(served) -> Iterator[threading.Event]:
    """Closed: every denoiser call waits for it."""
    opened = threading.Event()
    served.denoiser.before = lambda _: opened.wait(60)
    yield opened
    opened.set()
