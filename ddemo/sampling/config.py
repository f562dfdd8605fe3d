"""Every setting of a lane in one frozen, validated dataclass."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from ddemo.denoisers.caches import CACHES, NONE
from ddemo.errors import InputError
from ddemo.processes import SCHEDULES
from ddemo.sampling.samplers import KNOBS, SAMPLERS, Knob

DRAWS = ("sample", "argmax")
ENDS = ("allow", "suppress", "late", "stop")
MAX_STEPS = 1024
MAX_BLOCK = 65_536
MAX_SEED = 2**53 - 1  # what a browser's numbers hold exactly
MAX_CANDIDATES = 10


@dataclass(frozen=True)
class SamplerConfig:
    """Settings of one lane.

    The last fields are knobs: each is read by some samplers only, is None where it is not, and takes the published
    default of the sampler where it is not given.

    Attributes:
        sampler: name of an entry of `SAMPLERS`.
        draw: "sample" takes a token from p by an inverse CDF, "argmax" takes the likeliest. Samplers that draw no
            token, as under Gaussian noise, leave only the likeliest in p for "argmax".
        temperature: divides the logits before a draw; 0 is the same as argmax.
        top_k: draw only among the k likeliest; 0 is off.
        top_p: draw only among the likeliest tokens that together reach this probability; 1 is off.
        steps: reverse steps from t = 1 to t = 0; not read by samplers that take as many as the canvas needs.
        seed: the whole randomness of the run.
        candidates: how many of the likeliest tokens a frame keeps for each position.
        block_length: masks are filled block by block of this many, from left to right; 0 is one block.
        guidance: w of classifier-free guidance by the prompt, l_u + (w + 1) (l_c - l_u); 0 is off. Source: Nie et al.
            2024 (SMDM, arXiv 2410.18514).
        cache: what is kept of the text around a block while it is filled: "none", "prefix" for what stands before it,
            "dual" for what stands after it as well. Exact or approximate, as `denoiser.caches` says. Source: Wu et
            al. 2025 (Fast-dLLM, arXiv 2505.22618).
        end_of_text: whether a token that ends the text may be drawn ("allow"), never ("suppress"), only after all
            else ("late"), or ends the run ("stop").

    Raises:
        InputError: a field out of range or that the sampler does not read, naming field, value and range.
    """

    sampler: str = "confidence"
    draw: str = "sample"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    steps: int = 32
    seed: int = 0
    candidates: int = 5
    block_length: int = 0
    guidance: float = 0.0
    end_of_text: str = "allow"
    cache: str = NONE
    schedule: str | None = None
    order_temperature: float | None = None
    mask_schedule: str | None = None
    eta: float | None = None
    planner: str | None = None
    threshold: float | None = None
    factor: float | None = None
    entropy_bound: float | None = None
    corrector: float | None = None
    t_on: float | None = None
    t_off: float | None = None
    alpha_on: float | None = None
    clamp: str | None = None

    def __post_init__(self):
        _check_choice("sampler", self.sampler, SAMPLERS)
        _check_choice("draw", self.draw, DRAWS)
        _check_number("temperature", self.temperature, 0.0, 10.0)
        _check_whole("top_k", self.top_k, 0, 1_000_000)
        _check_number("top_p", self.top_p, 0.0, 1.0, open_below=True)
        _check_whole("steps", self.steps, 1, MAX_STEPS)
        _check_whole("seed", self.seed, 0, MAX_SEED)
        _check_whole("candidates", self.candidates, 0, MAX_CANDIDATES)
        _check_whole("block_length", self.block_length, 0, MAX_BLOCK)
        _check_number("guidance", self.guidance, 0.0, 100.0)
        _check_choice("end_of_text", self.end_of_text, ENDS)
        _check_choice("cache", self.cache, CACHES)
        for name in KNOBS:
            self._settle(name)
        self._check_together()

    def _settle(self, name: str) -> None:
        """Give a knob its default, check it, or refuse it where the sampler does not read it."""
        knob, value = SAMPLERS[self.sampler].knob(name), getattr(self, name)
        if knob is None and value is not None:
            read = ", ".join(SAMPLERS[self.sampler].defaults()) or "none of its own"
            raise InputError(f"The sampler {self.sampler} has no setting {name} (it has {read}).")
        if knob is None:
            return
        if value is None:
            object.__setattr__(self, name, knob.default)
        else:
            _check_knob(knob, value)

    def _check_together(self) -> None:
        sampler = SAMPLERS[self.sampler]
        if sampler.differentiates and SCHEDULES[self.schedule].derivative is None:
            usable = ", ".join(name for name, item in SCHEDULES.items() if item.derivative)
            raise InputError(
                f"schedule must be one of {usable} for {self.sampler}, not {self.schedule!r}: that one has no "
                "derivative, from which the rates of this sampler are made."
            )
        if self.end_of_text == "late" and not sampler.ranks:
            raise InputError(
                f"end_of_text must be one of allow, suppress, stop for {self.sampler}, not 'late': it does not "
                "rank what it fills."
            )
        if self.t_on is not None and not 0.0 < self.t_off < self.t_on < 1.0:
            raise InputError(
                f"t_off and t_on must be in (0, 1) and t_off below t_on, not {self.t_off} and {self.t_on}."
            )

    @property
    def greedy(self) -> bool:
        """Whether a draw takes the likeliest token."""
        return SAMPLERS[self.sampler].greedy or self.draw == "argmax" or self.temperature == 0.0 or self.top_k == 1

    @property
    def deterministic(self) -> bool:
        """Whether the seed does not matter: neither for what is drawn nor for where (from the same canvas)."""
        unordered = bool(self.order_temperature) or self.planner == "random"
        return self.greedy and SAMPLERS[self.sampler].ordered and not unordered

    def as_dict(self) -> dict[str, Any]:
        """Every setting that the sampler reads."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "SamplerConfig":
        """From untrusted values: whole numbers may come as 32.0, numbers as text; unknown names are refused."""
        if not isinstance(values, dict):
            raise InputError(f"Settings must be a table of names and values, not {quoted(values)}.")
        known = {field.name: kind_of(field.type) for field in fields(cls)}
        unknown = [name for name in values if name not in known]
        if unknown:
            raise InputError(f"There is no setting called {quoted(unknown[0])}: known are {', '.join(known)}.")
        given = {name: value for name, value in values.items() if value is not None}
        return cls(**{name: _as_type(name, value, known[name]) for name, value in given.items()})


def kind_of(annotation: Any) -> type:
    """int, float or str: what a field holds when it holds something."""
    return next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)


def _as_type(name: str, value: Any, wanted: type) -> Any:
    if wanted is str:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number, not {quoted(value)}.") from None
    if isinstance(value, bool):
        raise InputError(f"{name} must be a number, not {value!r}.")
    if wanted is int and math.isfinite(number) and number == int(number):
        return int(value) if isinstance(value, int) else int(number)
    return number


def _check_choice(name: str, value: Any, choices) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {quoted(value)}.")


def _check_knob(knob: Knob, value: Any) -> None:
    if knob.choices:
        _check_choice(knob.name, value, knob.choices)
    else:
        _check_number(knob.name, value, knob.low, knob.high)


def _check_number(name: str, value: Any, low: float, high: float, open_below: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (low <= value <= high) or (open_below and value == low):
        bracket = "(" if open_below else "["
        raise InputError(f"{name} must be a number in {bracket}{low:g}, {high:g}], not {quoted(value)}.")


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} must be a whole number from {low:,} to {high:,}, not {quoted(value)}.")


def quoted(value: Any, characters: int = 40) -> str:
    """An untrusted value for a message: cut short, and nothing in it that cannot be printed."""
    try:
        return repr(value)[:characters]
    except ValueError:  # Python refuses to write out a number of more than 4,300 digits
        return "a number of thousands of digits"
