"""Lanes over one canvas: what they would cost, and their runs as one batch in which none takes the others with it."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from types import MappingProxyType

from ddemo import runs
from ddemo.compare.questions import LanePlan
from ddemo.denoisers import Checkpoint, Denoiser
from ddemo.denoisers.caches import NONE
from ddemo.denoisers.fit import CACHE_COPIES, COPIES, Growth, free_memory, in_bytes
from ddemo.errors import InputError
from ddemo.sampling import Engine, Frame, SamplerConfig, latents
from ddemo.settings import default_sampler
from ddemo.trace import Trace

log = logging.getLogger(__name__)

# What a frame keeps of a position: its place and entropy; what was written there, where and how likely it was, the
# first and last of which stand in the report that came from the device, too; and for each candidate its id and
# probability. Under Gaussian noise also distance, margin and the place in the plane; and the latent, for each of its
# dimensions.
REPORT_BYTES, CANDIDATE_BYTES, LANDING_BYTES, POINT_BYTES = 28, 8, 16, 8
SHARE = 0.5  # of the free memory, which others use too
GONE_WRONG = "Something went wrong in this lane; its steps until then are kept."


@dataclass(frozen=True)
class Cost:
    """What lanes need at most.

    Attributes:
        lanes, tokens: how many lanes, of how many tokens each.
        turns: of the batch: the steps of the lane that has the most.
        passed: tokens that go through the denoiser, all in all.
        memory: bytes of a turn and of the frames that are kept.
    """

    lanes: int
    tokens: int
    turns: int
    passed: int
    memory: int


class CostLimit(InputError):
    """More than the machine can hold; `fits` is how many of the lanes it can, 0 for none."""

    def __init__(self, sentence: str, fits: int):
        super().__init__(sentence)
        self.fits = fits


@dataclass
class Contest:
    """Lanes that answer one question.

    Attributes:
        plans: what each lane is.
        traces: the run of each; None where it could not begin.
        problems: why a lane could not begin, or failed on its way; "" where all is well.
        checkpoints: what each lane is run with, by id.
    """

    plans: list[LanePlan] = field(default_factory=list)
    traces: list[Trace | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)

    @property
    def begun(self) -> list[int]:
        """The lanes that have a run."""
        return [index for index, trace in enumerate(self.traces) if trace is not None]

    @property
    def runs(self) -> list[Trace]:
        """Their traces, in order."""
        return [self.traces[index] for index in self.begun]

    @property
    def shared(self) -> list[str]:
        """What all lanes have in common, of what is said about them; nothing for a single lane."""
        told = [plan.about for plan in self.plans if plan.config is not None]
        return [part for part in told[0] if all(part in other for other in told)] if len(told) > 1 else []

    def groups(self) -> dict[str, list[int]]:
        """Group -> the places in `runs` of its lanes."""
        found: dict[str, list[int]] = {}
        for place, index in enumerate(self.begun):
            if group := self.plans[index].group:
                found.setdefault(group, []).append(place)
        return found

    def carry_out(
        self, stopped: Callable[[], bool] = lambda: False, engines: Mapping[str, Engine] | None = None
    ) -> Iterator[list[tuple[int, Frame]]]:
        """Run the lanes of each checkpoint in one batch: for each turn, the lanes that took a step, with its frame.

        A lane that fails is "failed" and says why in `problems`; the others go on.

        Args:
            stopped: as for `runs.carry_out`.
            engines: checkpoint id -> where lanes of other callers share the forward pass.
        """
        place = {id(trace): index for index, trace in enumerate(self.traces)}
        try:
            for turn in self._turns(stopped, engines or {}):
                yield [(place[id(trace)], frame) for trace, frame in turn]
        except Exception as problem:
            if not any(trace.state == "failed" for trace in self.runs):
                raise
            log.warning("a lane failed", exc_info=not isinstance(problem, InputError))
            for index in self.begun:
                if self.traces[index].state == "failed":
                    self.problems[index] = str(problem) if isinstance(problem, InputError) else GONE_WRONG

    def _turns(
        self, stopped: Callable[[], bool], engines: Mapping[str, Engine]
    ) -> Iterator[list[tuple[Trace, Frame]]]:
        """The turns of every checkpoint's batch, in turn, until all have come to their end."""
        with ExitStack() as open_batches:
            under_way = []
            for name, checkpoint in self.checkpoints.items():
                traces = [trace for trace in self.runs if trace.checkpoint["id"] == name]
                turns = runs.carry_out_together(checkpoint, traces, stopped, engines.get(name))
                under_way.append(open_batches.enter_context(closing(turns)))
            failures = []
            while under_way:
                for turns in list(under_way):
                    try:
                        yield next(turns)
                    except StopIteration:
                        under_way.remove(turns)
                    except Exception as problem:  # of this batch: the others come to their end
                        under_way.remove(turns)
                        failures.append(problem)
        for problem in failures:
            raise problem


def set_up(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    length: int,
    plans: Sequence[LanePlan],
    free: int | None = None,
    others: Callable[[str], Checkpoint] | None = None,
) -> Contest:
    """The lanes at their beginning: all of them over the canvas of each text.

    Args:
        texts: one, for lanes that are to be seen side by side.
        length: new tokens after a text without masks.
        free: bytes that may be used; by default what is free on the checkpoint's device.
        others: id -> checkpoint, for plans that name another than `checkpoint`.

    Raises:
        InputError: no lane can begin, or a checkpoint cannot be loaded.
        CostLimit: they need more than is free.
    """
    contest = Contest()
    for text in texts:
        for plan in plans:
            is_own = plan.checkpoint in ("", checkpoint.id)
            made_with = checkpoint if is_own else others(plan.checkpoint)
            contest.checkpoints.setdefault(made_with.id, made_with)
            trace, problem = _begun(made_with, text, length, plan)
            contest.plans.append(plan)
            contest.traces.append(trace)
            contest.problems.append(problem)
    if not contest.begun:
        raise InputError(next((problem for problem in contest.problems if problem), "There is no lane to run."))
    free = free_memory(checkpoint.denoiser.device) if free is None else free
    _check(checkpoint, contest, int(SHARE * free))
    return contest


def _begun(checkpoint: Checkpoint, text: str, length: int, plan: LanePlan) -> tuple[Trace | None, str]:
    """A lane's run, or why there is none."""
    if plan.config is None:
        return None, plan.problem
    try:
        return runs.begin(checkpoint, text, length, plan.config), ""
    except InputError as problem:
        return None, str(problem)


def cost_of(
    checkpoint: Checkpoint, traces: Sequence[Trace], others: Mapping[str, Checkpoint] = MappingProxyType({})
) -> Cost:
    """What these runs need from where they stand, at most.

    Args:
        others: id -> checkpoint, of runs that another than `checkpoint` made.
    """
    made_with = [others.get(trace.checkpoint["id"], checkpoint).denoiser for trace in traces]
    tokens = max(len(trace.segments[-1].canvas) for trace in traces)
    steps = [trace.segments[-1].clock.last - trace.last_step for trace in traces]
    rows = [2 if trace.config.guidance else 1 for trace in traces]
    frames = sum(
        count * _bytes_of_a_frame(denoiser, trace)
        for count, denoiser, trace in zip(steps, made_with, traces, strict=True)
    )
    cache = sum(
        CACHE_COPIES * each * len(trace.segments[-1].canvas) * denoiser.kept_bytes
        for each, denoiser, trace in zip(rows, made_with, traces, strict=True)
        if trace.config.cache != NONE
    )
    turn = COPIES * 4 * checkpoint.denoiser.vocab_size * tokens * sum(rows)
    passed = tokens * sum(count * each for count, each in zip(steps, rows, strict=True))
    return Cost(len(traces), tokens, max(steps), passed, turn + cache + frames)


def _bytes_of_a_frame(denoiser: Denoiser, trace: Trace) -> int:
    """What a step leaves in memory that asks about every position and changes all of them."""
    segment = trace.segments[-1]
    length = len(segment.canvas)
    told = length * (REPORT_BYTES + CANDIDATE_BYTES * trace.config.candidates)
    if denoiser.process != "gaussian":
        return told
    points = length * denoiser.space.embeddings.shape[1] * POINT_BYTES
    # As `Latents.kept_for` has it: all that the segment's steps leave, or none.
    kept = points if segment.clock.last * points <= latents.MOST_KEPT else 0
    return told + length * LANDING_BYTES + kept


def _check(checkpoint: Checkpoint, contest: Contest, limit: int) -> None:
    def of_first(count: int) -> Cost:
        return cost_of(checkpoint, contest.runs[:count], contest.checkpoints)

    cost = of_first(len(contest.runs))
    if cost.memory <= limit:
        return
    fits = next((n for n in range(cost.lanes - 1, 0, -1) if of_first(n).memory <= limit), 0)
    told = f"{cost.lanes} lanes of {cost.tokens:,} tokens need up to {in_bytes(cost.memory)}"
    way_out = f"the first {fits} would fit" if fits > 1 else "the first would fit" if fits else "take a shorter text"
    raise CostLimit(f"{told}, and {in_bytes(limit)} may be used: {way_out}.", fits)


def pace_of(checkpoint: Checkpoint) -> float:
    """Seconds that a token's way through a turn takes here and now, in a batch of a few lanes; takes a moment."""
    length = min(48, checkpoint.denoiser.max_length)
    traces = [runs.begin(checkpoint, "", length, _of_pace(checkpoint, seed)) for seed in range(4)]
    passed, began = cost_of(checkpoint, traces).passed, time.perf_counter()
    for _ in runs.carry_out_together(checkpoint, traces):
        pass
    return (time.perf_counter() - began) / passed


def growth_in_a_turn(checkpoint: Checkpoint, length: int, lanes: int) -> int:
    """Bytes by which the process grew at most while so many lanes, all of masks, took a first step together."""
    traces = [runs.begin(checkpoint, "", length, _of_pace(checkpoint, seed)) for seed in range(lanes)]
    with Growth(checkpoint.denoiser.device) as growth, closing(runs.carry_out_together(checkpoint, traces)) as turns:
        next(turns)
    return growth.bytes


def _of_pace(checkpoint: Checkpoint, seed: int) -> SamplerConfig:
    return SamplerConfig(default_sampler(checkpoint.denoiser.process).name, steps=2, seed=seed)
