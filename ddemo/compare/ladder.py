"""The steps ladder: the same prompts at few and at many steps, by argmax and by sampling."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ddemo import runs
from ddemo.compare.lanes import set_up
from ddemo.compare.questions import QUESTIONS, STEPS, LanePlan
from ddemo.denoisers import Checkpoint
from ddemo.errors import InputError
from ddemo.judge import Judge
from ddemo.measures import NO_JUDGE, Value, measuring
from ddemo.sampling import SAMPLERS, Engine
from ddemo.sampling.samplers.definition import BY_CLOCK

SEEDS, NEW_TOKENS = 4, 64


@dataclass(frozen=True)
class Rung:
    """What was written in so many steps.

    Attributes:
        steps: how many were asked for.
        groups: "argmax" and "samples" -> the measures of its texts (`ddemo.measures.Comparison.groups`); the errors
            are over the texts: seeds and prompts for samples, prompts for argmax.
    """

    steps: int
    groups: dict[str, dict[str, Value]]


@dataclass
class Ladder:
    """A ladder under way.

    Attributes:
        rungs: that are finished, fewest steps first.
        done, all: turns of the batch and texts measured, and how many there will be at most.
        doing: what is going on, in words; "" at the end.
    """

    rungs: list[Rung] = field(default_factory=list)
    done: int = 0
    all: int = 0
    doing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"rungs": [asdict(rung) for rung in self.rungs]}


def climb(
    checkpoint: Checkpoint,
    prompts: Sequence[str],
    settings: Mapping[str, Any],
    length: int = NEW_TOKENS,
    steps: Sequence[int] = STEPS,
    seeds: int = SEEDS,
    judge: Judge | None = None,
    no_judge: str = NO_JUDGE,
    stopped: Callable[[], bool] = lambda: False,
    engine: Engine | None = None,
) -> Iterator[Ladder]:
    """Climb rung by rung; the same ladder is yielded after every turn and every text measured.

    A rung counts once all of it is measured: when `stopped()` says so, the rungs that are finished stay. Where each
    mask already had a step of its own, the ladder ends: more steps would write the same.

    Args:
        prompts: texts, each continued by `length` tokens or with masks of its own.
        settings: of the run, by the names of `SamplerConfig`; draw, steps and seed are the ladder's.
        seeds: samples of each prompt; argmax is run once.

    Raises:
        InputError: a sampler that takes no number of steps, or a prompt that cannot be run.
    """
    process = checkpoint.denoiser.process
    plans = {count: _plans(settings, count, seeds, process) for count in steps}
    texts = len(prompts) * (seeds + 1)
    ladder = Ladder(all=sum(count + texts for count in steps))
    engines = {checkpoint.id: engine} if engine else {}
    before = 0
    for count in steps:
        ladder.doing = f"{count} steps"
        contest = set_up(checkpoint, prompts, length, plans[count])
        for turn, _ in enumerate(contest.carry_out(stopped, engines), start=1):
            ladder.done = before + min(turn, count)
            yield ladder
        before += count
        found = None
        for found in measuring(checkpoint, contest.runs, contest.groups(), judge, no_judge, stopped):
            ladder.done = before + found.done
            yield ladder
        if stopped():
            break
        before += texts
        ladder.rungs.append(Rung(count, found.groups))
        yield ladder
        if all(runs.steps_needed(trace) is not None for trace in contest.runs):
            break  # every mask had a step of its own: more steps write the same
    ladder.doing = ""
    yield ladder


def _plans(settings: Mapping[str, Any], steps: int, seeds: int, process: str) -> list[LanePlan]:
    """Argmax, and samples with a seed each."""
    plans = QUESTIONS["argmax"].plans(dict(settings) | {"steps": steps}, process, seeds + 1)
    for plan in plans:
        if plan.config is None:
            raise InputError(plan.problem)
        if SAMPLERS[plan.config.sampler].paced != BY_CLOCK:
            raise InputError(
                f"{SAMPLERS[plan.config.sampler].title} takes as many steps as the text needs, so it has no ladder: "
                "choose another sampler."
            )
    return plans
