"""denoise(): the only denoising loop. Engine, page, API, command line, tests and benchmarks all consume it."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ddemo.denoisers.base import Denoiser
from ddemo.denoisers.caches import NONE, BlockCache
from ddemo.sampling.belief import Belief
from ddemo.sampling.canvas import Canvas
from ddemo.sampling.clock import Clock, Plan, Stage, caches_of, check_cache, check_process, fresh_clock
from ddemo.sampling.config import SamplerConfig
from ddemo.sampling.frame import Frame
from ddemo.sampling.latents import Latents, from_noise
from ddemo.sampling.report import Facts, Report, collect
from ddemo.sampling.rules import FillRules
from ddemo.sampling.samplers import Turn

log = logging.getLogger(__name__)

WITHOUT_FLOAT64 = ("mps",)  # there, beliefs are kept and reduced on the CPU


class Request(NamedTuple):
    """A row of the denoiser's call.

    Attributes:
        held: [L] tokens, or latents.
        wanted, times: [L], as the denoiser takes them.
        cache: keys and values of the row; None for none.
    """

    held: Tensor
    wanted: Tensor
    times: Tensor
    cache: BlockCache | None = None


@dataclass(eq=False)
class Lane:
    """One canvas, its settings and its randomness, on the way from noise to text.

    Attributes:
        canvas: where the segment began; its tokens are never changed in place.
        config: settings.
        clock: times of the segment's steps.
        number: the lane's number, part of its randomness.
        step: the last step taken.
        tokens: [L] int64, the canvas as it stands; defaults to the canvas's own.
        nfe: denoiser calls so far; guidance makes two a step.
        time: t after `step`; defaults to the clock's start.
        decoded: [L] float64, how probable each token was when it was written; 1 where that is not known.
        latents: x_t under Gaussian noise, where tokens are what it rounds to; defaults to noise where the segment
            began, and must be given after it. None under other noise.
        cancelled: set it to end the lane before its next step.
        failure: what went wrong, if anything did; the lane has then ended.
        caches: keys and values of the current block, one for each row that a step asks with; under way only. They
            follow from where the segment began and what stands, so a lane that goes on from a trace needs none.
    """

    canvas: Canvas
    config: SamplerConfig
    clock: Clock
    number: int = 0
    step: int | None = None
    tokens: Tensor | None = None
    nfe: int = 0
    time: float | None = None
    decoded: Tensor | None = None
    latents: Latents | None = None
    cancelled: bool = False
    failure: Exception | None = None
    caches: list[BlockCache] = field(default_factory=list, repr=False)
    belief: Belief | None = field(default=None, repr=False)
    stage: Stage | None = field(default=None, repr=False)
    plan: Plan | None = field(default=None, repr=False)

    def __post_init__(self):
        self.step = self.clock.first if self.step is None else self.step
        self.time = self.clock.start if self.time is None else self.time
        self.tokens = self.canvas.tokens.clone() if self.tokens is None else self.tokens.clone()
        unknown = torch.ones(len(self.canvas), dtype=torch.float64)
        self.decoded = unknown if self.decoded is None else self.decoded.clone()

    @classmethod
    def fresh(cls, canvas: Canvas, config: SamplerConfig, mask_id: int, number: int = 0) -> "Lane":
        """A run from the start: t = 1 whatever share of the canvas is masked.

        Raises:
            InputError: as `fresh_clock`.
        """
        return cls(canvas, config, fresh_clock(canvas, config, mask_id), number)

    def prepared(self, denoiser: Denoiser) -> bool:
        """Work out the next step; False when there is none, because the lane is done, was cancelled or has failed."""
        if not self._goes_on(denoiser):
            self.caches = []  # the largest part of a lane
            return False
        return True

    def _goes_on(self, denoiser: Denoiser) -> bool:
        if self.cancelled or self.failure is not None:
            return False
        try:
            return self._prepare(denoiser)
        except Exception as problem:
            self.failure = problem
            return False

    def ended(self, denoiser: Denoiser) -> bool:
        """Whether no step is left to take.

        Raises:
            InputError: as `check_process` and `check_cache`.
        """
        if self.plan is None:
            check_process(self.config, denoiser.process, denoiser.id)
            check_cache(self.config, caches_of(denoiser), denoiser.id)
            self.plan = Plan(self, denoiser)
        return self.plan.done(self.step, self.tokens)

    def _prepare(self, denoiser: Denoiser) -> bool:
        if self.ended(denoiser):
            return False
        if self.plan.space is not None and self.latents is None:
            self.latents = self._noise()
        stage = self.plan.stage(self.step, self.tokens, self.time)
        if self.stage is not None and not torch.equal(stage.open, self.stage.open):
            self.belief = None  # another block: other positions are asked about
        self.stage = stage
        return True

    def _noise(self) -> Latents:
        if self.step != self.clock.first:
            raise ValueError(f"latents must be given to go on after step {self.step}: tokens do not tell them")
        return from_noise(self.canvas, self.plan.space, self.config.seed, self.number, self.step)

    def asks(self, mask_id: int) -> Tensor:
        """[L] bool: where the next step needs p(x0 | x_t)."""
        return self.stage.open if self.plan.reads_free else self.stage.open & (self.tokens == mask_id)


def denoise(
    denoiser: Denoiser, lanes: Iterable[Lane], rules: FillRules | None = None
) -> Iterator[list[tuple[Lane, Frame]]]:
    """Run lanes to the end, one batched forward pass a turn.

    A lane ends when its last step is taken, when no mask is left that it could fill, when it was cancelled, or when
    something went wrong in it (`Lane.failure`), which the others do not notice. The denoiser is not called for a lane
    whose canvas did not change since its last call, if it does not read the time.

    Args:
        denoiser: p(x0 | x_t).
        lanes: any mix of lengths, settings and seeds; each is advanced in place. Read anew at every turn, so that
            lanes may join and leave between two.
        rules: what may be written where; only the mask id is refused without them.

    Yields:
        For every turn the lanes that took a step, each with its frame.
    """
    rules = rules or FillRules.mask_only(denoiser.vocab_size, denoiser.mask_id)
    while active := [lane for lane in lanes if lane.prepared(denoiser)]:
        asking = [lane for lane in active if lane.belief is None]
        _believe(denoiser, asking, rules)
        reports = [(lane, _try_step(lane, denoiser, rules, lane in asking)) for lane in active]
        yield write([(lane, report) for lane, report in reports if report])


@torch.inference_mode()
def _believe(denoiser: Denoiser, lanes: Sequence[Lane], rules: FillRules) -> None:
    """One forward pass; each lane gets its belief where it asks for it.

    When the pass fails for several lanes, such as for want of memory, each is tried alone.
    """
    try:
        _ask(denoiser, lanes, rules)
    except Exception as problem:
        if len(lanes) == 1:
            lanes[0].failure = problem
            return
        log.warning("a pass over %d lanes failed (%s): trying them one by one", len(lanes), problem)
        for lane in lanes:
            lane.belief = None
            _believe(denoiser, [lane], rules)


def _ask(denoiser: Denoiser, lanes: Sequence[Lane], rules: FillRules) -> None:
    asked = [lane.asks(denoiser.mask_id) for lane in lanes]
    rows = [requests(lane, wanted, denoiser.mask_id) for lane, wanted in zip(lanes, asked, strict=True)]
    parts = iter(forward(denoiser, [row for own in rows for row in own]))
    for lane, wanted, own in zip(lanes, asked, rows, strict=True):
        logits = [next(parts) for _ in own] or [_no_logits(denoiser)]
        positions = wanted.nonzero().squeeze(-1)
        spacing = lane.canvas.spacing[positions]
        lane.belief = Belief(positions, rules.apply(guided(logits, lane), spacing, lane.config.end_of_text))
        lane.nfe += len(own)


def _no_logits(denoiser: Denoiser) -> Tensor:
    return torch.empty(0, denoiser.vocab_size, dtype=torch.float32, device=denoiser.device)


def requests(lane: Lane, wanted: Tensor, mask_id: int) -> list[Request]:
    """What a lane's step puts to the denoiser: nothing where nothing is wanted, two rows under guidance."""
    if not bool(wanted.any()):
        return []
    if lane.latents is not None:
        return [Request(lane.latents.points, wanted, lane.latents.times(lane.stage.t))]
    share = lane.plan.noised_share(lane.stage, lane.tokens)
    times = torch.full((len(wanted),), share, dtype=torch.float32).masked_fill_(lane.canvas.fixed, 0.0)
    versions = _versions(lane, lane.tokens, mask_id)
    caches: Sequence[BlockCache | None] = [None] * len(versions)
    if lane.config.cache != NONE:
        caches = lane.caches = _caches_now(lane, mask_id)
    return [Request(tokens, wanted, times, cache) for tokens, cache in zip(versions, caches, strict=True)]


def _versions(lane: Lane, tokens: Tensor, mask_id: int) -> list[Tensor]:
    """The canvas as each row of a step shows it: under guidance, also with the prompt masked."""
    guides = lane.config.guidance and bool(lane.canvas.fixed.any())
    return [tokens, tokens.masked_fill(lane.canvas.fixed, mask_id)] if guides else [tokens]


def _caches_now(lane: Lane, mask_id: int) -> list[BlockCache]:
    """The caches of the lane's block, a row each; those that it has already where they are still of this canvas.

    A block is untouched until its turn comes. So the canvas where it began is, inside the block, the one where the
    segment began, and around it the one that stands: a cache is never of another text.
    """
    block = lane.stage.open
    began = _versions(lane, torch.where(block, lane.canvas.tokens, lane.tokens), mask_id)
    if not lane.caches:
        return [BlockCache(lane.config.cache, tokens, block) for tokens in began]
    return [cache.following(tokens, block) for cache, tokens in zip(lane.caches, began, strict=True)]


def forward(denoiser: Denoiser, rows: Sequence[Request]) -> Sequence[Tensor]:
    """Logits [N_i, V] for each row, in one call."""
    if not rows:
        return []
    held, wanted, times = (pad_sequence([row[column] for row in rows], batch_first=True) for column in range(3))
    lengths = torch.tensor([len(row.held) for row in rows])
    caches = [row.cache for row in rows]
    told = (caches,) if any(cache is not None for cache in caches) else ()
    logits = denoiser(held, times, lengths, wanted, *told)
    if logits.device.type in WITHOUT_FLOAT64:
        logits = logits.cpu()
    return logits.split(wanted.sum(-1).tolist())


def guided(logits: Sequence[Tensor], lane: Lane) -> Tensor:
    """l_u + (w + 1) (l_c - l_u) for logits with and without the prompt; what one of them rules out stays out."""
    if len(logits) == 1:
        return logits[0]
    with_prompt, without = logits
    guided = without + (lane.config.guidance + 1.0) * (with_prompt - without)
    return torch.where(with_prompt.isinf() | without.isinf(), -torch.inf, guided)


@torch.inference_mode()
def _try_step(lane: Lane, denoiser: Denoiser, rules: FillRules, fresh: bool) -> Report | None:
    """What one step of a lane does, still on the belief's device; None when it failed."""
    if lane.failure is not None:
        return None
    try:
        turn = turn_of(lane, denoiser, rules)
        return Report(turn, lane.plan.sampler.steps[denoiser.process](turn), fresh)
    except Exception as problem:
        lane.failure = problem
        return None


def turn_of(lane: Lane, denoiser: Denoiser, rules: FillRules) -> Turn:
    """What the lane's next step may look at."""
    plan, stage = lane.plan, lane.stage
    s = stage.t if stage.s is None else stage.s
    return Turn(
        tokens=lane.tokens,
        open=stage.open,
        belief=lane.belief,
        mask_id=denoiser.mask_id,
        words=~rules.never,
        step=lane.step + 1,
        index=stage.index,
        steps=stage.steps,
        t=stage.t,
        s=s,
        size=stage.size,
        share=plan.share,
        alpha_t=plan.alpha(stage.t),
        alpha_s=1.0 if s == 0.0 else plan.alpha(s),
        schedule=plan.schedule,
        decoded=lane.decoded,
        config=lane.config,
        floor=plan.sampler.floor,
        predicts=denoiser.predicts,
        lane=lane.number,
        ends=rules.ends,
        latents=lane.latents,
        space=plan.space,
    )


@torch.inference_mode()
def write(turn: Sequence[tuple[Lane, Report]]) -> list[tuple[Lane, Frame]]:
    """Copy all reports of a turn to the CPU at once, and carry them out."""
    facts = collect([report for _, report in turn])
    return [(lane, _carry_out(lane, report, told)) for (lane, report), told in zip(turn, facts, strict=True)]


def _carry_out(lane: Lane, report: Report, facts: Facts) -> Frame:
    """Write what the step wants on the lane's canvas, and tell it as a frame."""
    turn, move = report.turn, report.move
    tokens, chosen = turn.tokens.clone(), torch.zeros(len(turn.tokens), dtype=torch.float64)
    positions = turn.belief.positions
    tokens[positions] = torch.from_numpy(facts.after).long()
    chosen[positions] = torch.from_numpy(facts.chosen).double()
    if move.remask is not None:
        tokens[move.remask], chosen[move.remask] = turn.mask_id, 0.0
    if lane.config.end_of_text == "stop":
        _stop_after_end(lane, turn, tokens, chosen)
    written = (tokens != turn.tokens).nonzero().squeeze(-1)
    lane.decoded[written] = chosen[written]
    lane.time = turn.s if lane.stage.s is not None else _masked_share(lane, tokens)
    if len(written) or lane.plan.takes_time:
        lane.belief = None
    if move.landing is not None:
        lane.latents = lane.latents.moved(positions, move.landing.points)
    lane.tokens, lane.step = tokens, turn.step
    return Frame(
        step=turn.step,
        t=turn.t,
        s=lane.time,
        nfe=lane.nfe,
        positions=(positions if report.fresh else positions[:0]).numpy().astype(np.int32),
        entropy=facts.entropy,
        ids=facts.ids,
        probabilities=facts.probabilities,
        written=written.numpy().astype(np.int32),
        tokens=tokens[written].numpy().astype(np.int32),
        chosen=chosen[written].numpy().astype(np.float32),
        distance=facts.distance,
        margin=facts.margin,
        plane=facts.plane,
        latents=lane.latents and lane.latents.kept_for(lane.clock.last),
    )


def _masked_share(lane: Lane, tokens: Tensor) -> float:
    """Time after a step that the canvas paces: the share of the block that is masked."""
    masks = int(((tokens == lane.plan.mask_id) & lane.stage.open).sum())
    return lane.clock.start * masks / lane.stage.size


def _stop_after_end(lane: Lane, turn: Turn, tokens: Tensor, chosen: Tensor) -> None:
    """Once a token that ends the text stands with no mask before it, everything after it that is free ends too.

    Text that the visitor fixed after it keeps the run going, since it has to be reached.
    """
    ends = torch.isin(tokens, turn.ends) & ~lane.canvas.fixed
    first = next(iter(ends.nonzero().flatten().tolist()), None)
    if first is None or bool((tokens[:first] == turn.mask_id).any()) or bool(lane.canvas.fixed[first:].any()):
        return
    chosen[first + 1 :][tokens[first + 1 :] != tokens[first]] = 0.0  # not drawn, but put there
    tokens[first + 1 :] = tokens[first]
