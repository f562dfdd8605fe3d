"""Which step is where: blocks, steps and times of a segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddemo.denoisers.base import Denoiser
from ddemo.denoisers.caches import NO_CACHES, NONE, CacheKinds
from ddemo.errors import InputError
from ddemo.processes import LINEAR, SCHEDULES, Schedule
from ddemo.sampling.canvas import Canvas
from ddemo.sampling.config import SamplerConfig
from ddemo.sampling.randomness import uniforms
from ddemo.sampling.samplers import SAMPLERS
from ddemo.sampling.samplers.definition import BY_CLOCK

if TYPE_CHECKING:
    from ddemo.sampling.loop import Lane


@dataclass(frozen=True)
class Clock:
    """Steps first + 1 .. last take time from `start` down to 0.

    Attributes:
        first: the step that has already been taken where this clock begins; 0 for a fresh run.
        last: the step at which t = 0 at the latest; samplers that the canvas paces may be done before.
        start: t at `first`: 1 for a fresh run, where alpha is the share of free positions that stand otherwise.
    """

    first: int
    last: int
    start: float = 1.0


@dataclass(frozen=True)
class Stage:
    """Where a step stands.

    Attributes:
        open: [L] bool, positions that the step may change.
        index: steps of the block before this one; steps: how many the block has.
        size: positions of the block.
        t, s: times before and after the step; s is None where the canvas will tell.
    """

    open: Tensor
    index: int
    steps: int
    size: int
    t: float
    s: float | None


class Plan:
    """What a lane's steps are, from its canvas where the segment began and its settings.

    Args:
        lane: its canvas, config, clock and number are read.
        denoiser: its noise process and mask.
    """

    def __init__(self, lane: Lane, denoiser: Denoiser):
        config = lane.config
        self.config, self.clock, self.number = config, lane.clock, lane.number
        self.process, self.mask_id, self.takes_time = denoiser.process, denoiser.mask_id, denoiser.takes_time
        self.sampler = SAMPLERS[config.sampler]
        self.schedule: Schedule = SCHEDULES[config.schedule] if config.schedule else LINEAR
        self.may_rewrite = self.sampler.may_rewrite(self.process)
        self.reads_free = self.sampler.reads_free(self.process)
        self.space = denoiser.space if self.process == "gaussian" else None  # where words are among latents
        self.blocks = blocks_of(lane.canvas, config, self.may_rewrite, self.mask_id)
        self.open = torch.stack(self.blocks).any(0)
        # Where a run goes on after an edit, most of a block in which tokens may go again stands already.
        whole = self.may_rewrite and len(self.blocks) == 1
        self.share = 1.0 - self.schedule.alpha(self.clock.start) if whole else 1.0

    def alpha(self, t: float) -> float:
        """The share of tokens that stand at t."""
        return self.sampler.floor + (1.0 - self.sampler.floor) * self.schedule.alpha(t)

    def done(self, step: int, tokens: Tensor) -> bool:
        """Whether nothing is left to do after `step`."""
        if step >= self.clock.last:
            return True
        return not self.may_rewrite and not bool(((tokens == self.mask_id) & self.open).any())

    def stage(self, step: int, tokens: Tensor, time: float) -> Stage:
        """Where the step after `step` stands.

        Args:
            step: the last step taken.
            tokens: [L] the canvas after it.
            time: the time after it, for samplers that draw their times.
        """
        if self.sampler.paced == BY_CLOCK:
            return self._by_clock(step)
        return self._by_state(step, tokens, time)

    def _by_clock(self, step: int) -> Stage:
        done = step - self.clock.first
        each, left_over = divmod(self.clock.last - self.clock.first, len(self.blocks))
        longer = left_over * (each + 1)  # steps of the blocks that have one more than the others
        block, index = divmod(done, each + 1) if done < longer else divmod(done - longer, each)
        block, steps = (block, each + 1) if done < longer else (block + left_over, each)
        open = self.blocks[block]
        t, s = (self.clock.start * self.sampler.grid(i, steps) for i in (index, index + 1))
        return Stage(open, index, steps, int(open.sum()), t, s)

    def _by_state(self, step: int, tokens: Tensor, time: float) -> Stage:
        masked = tokens == self.mask_id
        open = next(block for block in self.blocks if bool((masked & block).any()))
        size, masks = int(open.sum()), int((masked & open).sum())
        if not self.sampler.hits:
            return Stage(open, size - masks, size, size, self.clock.start * masks / size, None)
        time = self.clock.start if masks == size else time
        u = uniforms(self.config.seed, self.number, step + 1, "time", 1).item()
        hit = self.schedule.time_at(1.0 - u ** (1.0 / masks) * (1.0 - self.schedule.alpha(time)))
        return Stage(open, size - masks, size, size, hit, hit)

    def noised_share(self, stage: Stage, tokens: Tensor) -> float:
        """1 - alpha, as a denoiser that reads the time is told.

        Samplers that follow a schedule say its value; others the share of the block that is masked.
        """
        if self.config.schedule or self.process == "uniform":
            return 1.0 - self.alpha(stage.t)
        return int(((tokens == self.mask_id) & stage.open).sum()) / stage.size


def blocks_of(canvas: Canvas, config: SamplerConfig, may_rewrite: bool, mask_id: int) -> list[Tensor]:
    """[L] bool for each block: what its steps may change, in order.

    Blocks share out the masks of the canvas. A sampler that rewrites may, in a single block, also change what stands
    and is not fixed.
    """
    masks = canvas.tokens == mask_id
    positions = masks.nonzero().squeeze(-1)
    if config.block_length == 0 or len(positions) <= config.block_length:
        return [~canvas.fixed if may_rewrite else masks]
    parts = positions.split(config.block_length)
    return [torch.zeros_like(masks).index_fill_(0, part, True) for part in parts]


def fresh_clock(canvas: Canvas, config: SamplerConfig, mask_id: int) -> Clock:
    """The clock of a run from t = 1.

    Raises:
        InputError: the block length does not divide the masks, or there are fewer steps than blocks.
    """
    masks = len(canvas.masks(mask_id))
    length = config.block_length
    if length and masks % length:
        divisors = [n for n in range(masks, 0, -1) if masks % n == 0 and n <= length]
        raise InputError(
            f"block_length must divide the {masks} masks, which {length} does not: take {divisors[0]}, or 0 for one "
            "block."
        )
    return _clock(canvas, config, mask_id, 0, config.steps, 1.0)


def clock_from(canvas: Canvas, config: SamplerConfig, mask_id: int, first: int, start: float, steps: int) -> Clock:
    """The clock of a run that goes on after step `first` at time `start` with `steps` steps, at least one a block."""
    blocks = -(-len(canvas.masks(mask_id)) // config.block_length) if config.block_length else 1
    return _clock(canvas, config, mask_id, first, max(steps, blocks, 1), start)


def _clock(canvas: Canvas, config: SamplerConfig, mask_id: int, first: int, steps: int, start: float) -> Clock:
    sampler = SAMPLERS[config.sampler]
    masks = len(canvas.masks(mask_id))
    if sampler.paced != BY_CLOCK:
        return Clock(first, first + masks, start)
    blocks = max(1, -(-masks // config.block_length)) if config.block_length else 1
    if steps < blocks:
        raise InputError(f"steps must be at least {blocks}, one for each block, not {steps}.")
    return Clock(first, first + steps + sampler.extra_steps * blocks, start)


def check_process(config: SamplerConfig, process: str, name: str) -> None:
    """Raise InputError when the settings cannot reverse the noise that checkpoint `name` was trained on."""
    sampler = SAMPLERS[config.sampler]
    if process not in sampler.processes:
        raise InputError(
            f"sampler must be one for {process} noise, which {name} was trained on, not {sampler.name}: that one is "
            f"for {' and '.join(sampler.processes)} noise."
        )
    if process != "absorbing" and config.guidance:
        raise InputError(f"guidance must be 0 for {name}: a prompt is left out by masking it, and it has no masks.")
    if process != "absorbing" and config.block_length:
        raise InputError(f"block_length must be 0 for {name}: a block waits as masks for its turn, and it has none.")
    if process != "absorbing":
        check_cache(config, NO_CACHES, name)
    if process != "absorbing" and config.end_of_text == "stop":
        raise InputError(
            f"end_of_text must be one of allow, suppress for {name}, not 'stop': a token that ends the text may be "
            "noise there until the last step."
        )


def check_cache(config: SamplerConfig, caches: CacheKinds, name: str) -> None:
    """Raise InputError when checkpoint `name` cannot keep what the settings ask to be kept."""
    allowed = (NONE, *caches.kinds)
    if config.cache in allowed:
        return
    reason = "nothing after a block is looked at" if caches.kinds else "its network keeps no keys and values"
    raise InputError(f"cache must be {' or '.join(allowed)} for {name}, not {config.cache!r}: {reason}.")


def caches_of(denoiser: Denoiser) -> CacheKinds:
    """What caches a denoiser can keep."""
    return getattr(denoiser, "caches", NO_CACHES)
