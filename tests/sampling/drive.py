"""Random canvases, settings and companies of lanes, and lanes run to their end with all their frames kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st

from ddemo.errors import InputError
from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS, Canvas, FillRules, Frame, Lane, SamplerConfig, denoise, from_noise
from ddemo.sampling.frame import ARRAYS
from ddemo.sampling.samplers import Knob, Sampler, of_process
from ddemo.sampling.samplers.definition import BY_CLOCK

MASK = 11  # of the fake denoiser, whose other tokens are 0 to 10
END = 10  # which of them says that the text is over
RULES = FillRules(torch.arange(12) == MASK, {}, torch.tensor([END]))
PROCESSES = ("absorbing", "uniform")
SAMPLED = [(name, process) for process in PROCESSES for name in (sampler.name for sampler in of_process(process))]


# ---------------------------------------------------------------- canvases


def random_canvas(length: int, seed: int, share: float = 0.7, held: float = 1.0) -> Canvas:
    """Random tokens with a random part masked, at least one; a token is fixed with probability `held`."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(MASK, (length,), generator=generator)
    masked = torch.rand(length, generator=generator) < share
    masked[int(torch.randint(length, (1,), generator=generator))] = True
    fixed = ~masked & (torch.rand(length, generator=generator) < held)
    return replace(canvas_of(tokens.masked_fill(masked, MASK)), fixed=fixed)


def canvas_of(tokens: torch.Tensor, mask_id: int = MASK) -> Canvas:
    return Canvas(tokens, tokens != mask_id, torch.zeros(len(tokens), dtype=torch.uint8))


def all_masks(count: int) -> Canvas:
    return canvas_of(torch.full((count,), MASK))


def noised(canvas: Canvas, process: str, seed: int = 0) -> Canvas:
    """The canvas as a run of that noise begins with it."""
    return canvas if process == "absorbing" else from_noise(canvas, MASK, ~RULES.never, seed)


CANVASES = st.builds(
    random_canvas,
    st.integers(1, 24),
    st.integers(0, 10**6),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([1.0, 0.5]),
)


# ---------------------------------------------------------------- settings


def settings_of(sampler: Sampler, masks: int, process: str) -> st.SearchStrategy[SamplerConfig]:
    """Every setting that the sampler reads, at random, as far as they fit a canvas of so many masks."""
    return _settings(sampler, masks, process)


@st.composite
def _settings(draw, sampler: Sampler, masks: int, process: str) -> SamplerConfig:
    lengths = [0, *(n for n in range(1, masks + 1) if masks % n == 0)] if process == "absorbing" else [0]
    block_length = draw(st.just(0) | st.sampled_from(lengths))
    blocks = masks // block_length if block_length and sampler.paced == BY_CLOCK else 1
    knobs = {knob.name: draw(st.none() | _knob(sampler, knob)) for knob in sampler.knobs}
    if "t_on" in knobs:
        knobs["t_off"], knobs["t_on"] = draw(st.sampled_from([(None, None), (0.3, 0.31), (0.01, 0.99), (0.2, 0.8)]))
    return SamplerConfig(
        sampler=sampler.name,
        draw=draw(st.sampled_from(["sample", "argmax"])),
        temperature=draw(st.sampled_from([0.0, 0.7, 1.0, 3.0])),
        top_k=draw(st.sampled_from([0, 1, 3, 12, 500])),
        top_p=draw(st.sampled_from([1.0, 0.8])),
        steps=draw(st.integers(blocks, blocks + 11) | st.just(40)),
        seed=draw(st.integers(0, 2**53 - 1)),
        candidates=draw(st.sampled_from([0, 1, 5, 10])),
        block_length=block_length,
        guidance=draw(st.sampled_from([0.0, 0.0, 0.5, 4.0])) if process == "absorbing" else 0.0,
        end_of_text=draw(st.sampled_from(ends_of(sampler, process))),
        **knobs,
    )


def ends_of(sampler: Sampler, process: str) -> list[str]:
    """What the sampler can do about the end of the text."""
    return ["allow", "suppress", *(["late"] if sampler.ranks else []), *(["stop"] if process == "absorbing" else [])]


def _knob(sampler: Sampler, knob: Knob) -> st.SearchStrategy:
    if knob.name == "schedule" and sampler.differentiates:
        return st.sampled_from([name for name in knob.choices if SCHEDULES[name].derivative])
    if knob.choices:
        return st.sampled_from(knob.choices)
    return st.sampled_from([knob.low, knob.high]) | st.floats(knob.low, min(knob.high, 10.0))


@st.composite
def starts(draw, process: str, names: list[str] | None = None) -> tuple[Canvas, SamplerConfig, int]:
    """Canvas, settings and number of a lane."""
    canvas = draw(CANVASES)
    sampler = SAMPLERS[draw(st.sampled_from(names))] if names else draw(st.sampled_from(of_process(process)))
    config = draw(settings_of(sampler, len(canvas.masks(MASK)), process))
    return noised(canvas, process, config.seed), config, draw(st.integers(0, 9))


# ---------------------------------------------------------------- companies


@dataclass(frozen=True)
class Company:
    """Lanes that run together, to be made anew as often as a test likes, and the denoiser that they run with."""

    process: str
    takes_time: bool
    starts: list[tuple[Canvas, SamplerConfig, int]]

    def lanes(self) -> list[Lane]:
        return [fresh(*start) for start in self.starts]

    def denoiser(self, make_fake: Callable, **more):
        return make_fake(process=self.process, takes_time=self.takes_time, **more)


@st.composite
def companies(draw, process: str | None = None, most: int = 3, names: list[str] | None = None) -> Company:
    process = process or draw(st.sampled_from(PROCESSES))
    drawn = draw(st.lists(starts(process, names), min_size=1, max_size=most))
    return Company(process, draw(st.booleans()), drawn)


COMPANIES = companies()
COUPLES = companies(most=1)  # a company of one


def fresh(canvas: Canvas, config: SamplerConfig, number: int = 0) -> Lane:
    return Lane.fresh(canvas, config, MASK, number)


# ---------------------------------------------------------------- running


def run(denoiser, lanes: list[Lane], rules: FillRules | None = RULES, may_fail: bool = False) -> list[list[Frame]]:
    """The frames of each lane."""
    frames: dict[Lane, list[Frame]] = {lane: [] for lane in lanes}
    for turn in denoise(denoiser, lanes, rules):
        for lane, frame in turn:
            frames[lane].append(frame)
    if not may_fail:
        raise_failures(lanes)
    return list(frames.values())


def raise_failures(lanes: list[Lane]) -> None:
    """A lane keeps what went wrong to itself, which must not make a test pass."""
    for lane in lanes:
        if lane.failure:
            raise lane.failure


def resumed(start: tuple[Canvas, SamplerConfig, int], done: list[Frame]) -> Lane:
    """A lane that stands where the frames `done` left it, made from nothing but them."""
    canvas, config, number = start
    lane = fresh(canvas, config, number)
    decoded = torch.ones(len(canvas), dtype=torch.float64)
    for frame in done:
        decoded[torch.from_numpy(frame.written).long()] = torch.from_numpy(frame.chosen).double()
    if done:
        lane.step, lane.time, lane.nfe = done[-1].step, done[-1].s, done[-1].nfe
    lane.tokens, lane.decoded = replay(canvas, done), decoded
    return lane


def facts(frame: Frame, without: tuple[str, ...] = ()) -> dict:
    """A frame as plain values, exact, so that frames can be compared."""
    plain = {name: getattr(frame, name) for name in ("step", "t", "s", "nfe")}
    arrays = {name: (getattr(frame, name).shape, getattr(frame, name).tolist()) for name in ARRAYS}
    return {name: value for name, value in (plain | arrays).items() if name not in without}


def same(one: list[Frame], other: list[Frame]) -> bool:
    return [facts(frame) for frame in one] == [facts(frame) for frame in other]


def replay(canvas: Canvas, frames: list[Frame]) -> torch.Tensor:
    """[L] the canvas after the frames, written down from their facts alone."""
    tokens = canvas.tokens.clone()
    for frame in frames:
        tokens[torch.from_numpy(frame.written.astype(np.int64))] = torch.from_numpy(frame.tokens.astype(np.int64))
    return tokens


def canvases_before(canvas: Canvas, frames: list[Frame]) -> list[torch.Tensor]:
    """[L] what each frame's step found, frame by frame."""
    return [replay(canvas, frames[:index]) for index in range(len(frames))]


def with_seed(config: SamplerConfig, seed: int) -> SamplerConfig:
    return replace(config, seed=seed)


# ---------------------------------------------------------------- a visitor's texts and edits


def sentence_of(make: Callable, most: int = 300) -> str:
    """What is said about input that cannot be used: one printable sentence."""
    try:
        made = make()
    except InputError as problem:
        message = str(problem)
        message.encode()
        assert "\n" not in message and 0 < len(message) < most
        return message
    raise AssertionError(f"{made!r} was made of what cannot be used")


def row_of(canvas: Canvas, start: int = 0) -> list[dict]:
    """The row of cells that leaves a canvas as it is, as the page sends it."""
    return [{"from": position} for position in range(start, len(canvas))]


def token_of(codec, text: str) -> int:
    """The one token that a text is."""
    ids, _ = codec.encode(text)
    assert len(ids) == 1, text
    return ids[0]
