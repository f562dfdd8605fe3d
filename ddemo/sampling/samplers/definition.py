"""What a sampler is: a step, and everything that page, API, command line and documentation say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ddemo.sampling.samplers.turn import Move, Turn

BY_CLOCK, BY_STATE = "clock", "state"
MASKS, FREE = "masks", "free"


@dataclass(frozen=True)
class Knob:
    """A setting that only some samplers read.

    Attributes:
        name: a field of `SamplerConfig`.
        default: the published one.
        label, sentence: for the page.
        low, high: the range of a number.
        choices: what a word may be.
    """

    name: str
    default: float | str
    label: str
    sentence: str
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        return ", ".join(self.choices) if self.choices else f"[{self.low:g}, {self.high:g}]"


def even_grid(index: int, steps: int) -> float:
    """The share of the time left after `index` of `steps` steps, in equal strides from 1 to 0."""
    return (steps - index) / steps


@dataclass(frozen=True)
class Sampler:
    """A sampler's definition.

    Attributes:
        name: what settings call it.
        title: what people read.
        group: the heading it stands under: what its steps are driven by.
        sentence: one sentence for the page.
        source: the paper.
        steps: the update for each noise process that it reverses, "absorbing", "uniform" or "gaussian".
        knobs: settings that only it and some others read.
        paced: "clock" when the steps asked for are taken, "state" when the canvas decides how many there are.
        reads: "masks" when the model is asked about masks alone, "free" about every position that is not fixed.
        remasks: whether tokens may be masked again, so that a run without masks is not over before its last step.
        ordered: whether the same canvas gives the same choice of positions whatever the seed, so that with an
            argmax draw the whole run is deterministic.
        ranks: whether it ranks positions by how sure the model is of them.
        greedy: whether its token is the likeliest whatever the draw is set to.
        draws: whether it takes tokens from p; else the settings of a draw shape the p that it takes a mean under.
        differentiates: whether it needs the schedule's derivative.
        grid: how steps divide the time of a block: (index, steps) -> the share that is left.
        floor: alpha at t = 1 where the source keeps it above 0; alpha(t) is then floor + (1 - floor) alpha(t).
        extra_steps: steps taken beyond those asked for (a final denoise step).
        hits: whether it draws the time of its next step itself, rather than taking it from clock or canvas.
    """

    name: str
    title: str
    group: str
    sentence: str
    source: str
    steps: Mapping[str, Callable[[Turn], Move]]
    knobs: tuple[Knob, ...] = ()
    paced: str = BY_CLOCK
    reads: str = MASKS
    remasks: bool = False
    ordered: bool = False
    ranks: bool = False
    greedy: bool = False
    draws: bool = True
    differentiates: bool = False
    grid: Callable[[int, int], float] = even_grid
    extra_steps: int = 0
    floor: float = 0.0
    hits: bool = False

    @property
    def processes(self) -> tuple[str, ...]:
        return tuple(self.steps)

    def reads_free(self, process: str) -> bool:
        """Whether the model is asked about tokens that stand, too; always, unless noise is masks."""
        return process != "absorbing" or self.reads == FREE

    def may_rewrite(self, process: str) -> bool:
        """Whether a token that stands may still change."""
        return process != "absorbing" or self.remasks

    def knob(self, name: str) -> Knob | None:
        return next((knob for knob in self.knobs if knob.name == name), None)

    def defaults(self) -> dict[str, Any]:
        return {knob.name: knob.default for knob in self.knobs}
