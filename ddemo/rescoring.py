"""Going through a run again: exact numbers of the tokens that stand at its end, and what committing together cost.

A run keeps the likeliest few candidates of each position and step. What it does not keep is asked for here, on
demand, from the checkpoint that made it: the belief of every step is rebuilt from the frames, to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from ddemo.denoisers.caches import NONE, BlockCache
from ddemo.errors import InputError
from ddemo.rerun import latents_along, made_elsewhere, remembers
from ddemo.sampling.belief import Belief
from ddemo.sampling.loop import Lane, forward, guided, requests
from ddemo.sampling.rules import FillRules

if TYPE_CHECKING:
    from ddemo.denoisers import Checkpoint, Denoiser
    from ddemo.sampling.frame import Frame
    from ddemo.trace import Trace

HAZARDOUS = 0.5  # a commit is hazardous when, given the others, it keeps less than this share of its probability
ROWS = 16

Stopped = Callable[[], bool]
Progress = Callable[[int, int], None]  # (rows done, rows in all)


@dataclass(frozen=True)
class FinalScores:
    """How likely the model found, at each step, the tokens that stand at the end.

    "The end" is that of the step's segment: where the run ended, or where the visitor's next edit came. The arrays
    are those of the frames' `positions`, one frame after the other; the entropy at the same places is in the frames.

    Attributes:
        steps: how many of the run's steps, from the first, were gone through.
        probability: [N] float32 before temperature, as in the frames; 0 where nothing stands at the end.
        rank: [N] int32, 1 for the likeliest, tokens of equal probability sharing the better rank; 0 where nothing
            stands at the end.
    """

    ARRAYS: ClassVar = {"probability": np.float32, "rank": np.int32}

    steps: int
    probability: np.ndarray
    rank: np.ndarray

    def at(self, trace: Trace, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Probability and rank [M] at the positions of the frame of `step`; empty where it was not gone through."""
        before = sum(len(frame.positions) for frame in trace.frames[: step - 1])
        count = len(trace.frames[step - 1].positions) if step <= self.steps else 0
        return self.probability[before : before + count], self.rank[before : before + count]

    def check(self, trace: Trace) -> None:
        """Raise ValueError when these cannot be scores of that run, as in a damaged file."""
        size = _size(trace, self.steps, "positions")
        if not (self.probability.shape == self.rank.shape == (size,)):
            raise ValueError(f"scores must be of {size} cells, not {len(self.probability)} and {len(self.rank)}")
        if not (((self.probability >= 0) & (self.probability <= 1)).all() and (self.rank >= 0).all()):
            raise ValueError("scores must be probabilities and ranks")


@dataclass(frozen=True)
class Hazard:
    """How likely each token that a step wrote is, given the others that it wrote.

    The array is that of the frames' `written`, one frame after the other. A token that was written alone keeps the
    probability that it had, and a mask has none.

    Attributes:
        steps: how many of the run's steps, from the first, were gone through.
        probability: [C] float32 before temperature, to be held against the frames' `chosen`.
    """

    ARRAYS: ClassVar = {"probability": np.float32}

    steps: int
    probability: np.ndarray

    def at(self, trace: Trace, step: int) -> np.ndarray:
        """[C] at the `written` of the frame of `step`; empty where it was not gone through."""
        before = sum(len(frame.written) for frame in trace.frames[: step - 1])
        count = len(trace.frames[step - 1].written) if step <= self.steps else 0
        return self.probability[before : before + count]

    def hazardous(self, trace: Trace, step: int, share: float = HAZARDOUS) -> np.ndarray:
        """[C] bool: whose probability fell below `share` of what it was at commit.

        Raises:
            InputError: `share` is not in (0, 1].
        """
        if not 0.0 < share <= 1.0:
            raise InputError(f"The share below which a commit is hazardous must be in (0, 1], not {share}.")
        again = self.at(trace, step)
        return again < np.float32(share) * trace.frames[step - 1].chosen[: len(again)]

    def check(self, trace: Trace) -> None:
        """Raise ValueError when this cannot be of that run, as in a damaged file."""
        size = _size(trace, self.steps, "written")
        if self.probability.shape != (size,):
            raise ValueError(f"the hazard must be of {size} tokens, not {len(self.probability)}")
        if not ((self.probability >= 0) & (self.probability <= 1)).all():
            raise ValueError("the hazard must be made of probabilities")


# ---------------------------------------------------------------- what is asked


def final_scores_cost(trace: Trace) -> int:
    """Rows that `final_scores` puts through the denoiser."""
    return sum(frame.fresh for frame in trace.frames) * _calls_a_row(trace)


def final_scores(
    checkpoint: Checkpoint,
    trace: Trace,
    rows: int = ROWS,
    stopped: Stopped = lambda: False,
    progress: Progress | None = None,
) -> FinalScores:
    """Probability and rank, at every position and step that the model was asked about, of the token that stands there
    at the end: one denoiser row for each step that asked (two under guidance, and for latents from a file).

    Under uniform noise these are numbers of the belief that the run's frames hold, whichever of the two kinds the
    denoiser gives.

    Args:
        checkpoint: what the trace was made with.
        trace: a run that is not going on.
        rows: questions that go through the denoiser at once.
        stopped: asked before each batch; when it says so, the steps up to there are the result.
        progress: (rows done, rows in all), after each batch.

    Raises:
        InputError: another checkpoint, a run that is still going, or frames that do not follow from its settings.
    """
    _check(checkpoint, trace, rows)
    questions = (
        _Question(lane, lane.asks(trace.mask_id), frame) for frame, lane in _walk(checkpoint, trace) if frame.fresh
    )
    ends = [_end_of(trace, index) for index in range(len(trace.segments))]
    tell = _teller(progress, final_scores_cost(trace), _calls_a_row(trace))
    probability, rank, steps = [], [], 0
    for question, belief in _answers(checkpoint, questions, rows, stopped, tell):
        end = ends[_segment_of(trace, question.frame.step)]
        p, r = _scored(belief, end, trace.mask_id)
        probability.append(p)
        rank.append(r)
        steps = question.frame.step
    asking = [frame.step for frame in trace.frames if frame.fresh]
    if steps == (asking[-1] if asking else 0):
        steps = trace.last_step  # what is left asked nothing
    return FinalScores(steps, _joined(probability, np.float32), _joined(rank, np.int32))


def hazard_cost(trace: Trace) -> int:
    """Rows that `parallel_hazard` puts through the denoiser: one for each token that was not committed alone."""
    together = (int(_commits(frame, trace.mask_id).sum()) for frame in trace.frames)
    return sum(count for count in together if count > 1) * _calls_a_row(trace)


def parallel_hazard(
    checkpoint: Checkpoint,
    trace: Trace,
    rows: int = ROWS,
    stopped: Stopped = lambda: False,
    progress: Progress | None = None,
) -> Hazard:
    """What the tokens of each step are worth given each other.

    Tokens that a step commits are drawn each from its own p(x_i | x_t), as if they had nothing to do with each other;
    that is where few steps lose quality (Wu et al. 2025, Fast-dLLM, arXiv 2505.22618, section 3). Here each is scored
    again as masked language models score texts, by leaving one out (Salazar et al. 2020, arXiv 1910.14659): the
    canvas after the step with that one position masked. A row that a denoiser is told the time of has the share of
    its block that is masked.

    Arguments and errors as for `final_scores`.

    Raises:
        InputError: also under uniform noise, where nothing is committed.
    """
    _check(checkpoint, trace, rows)
    if checkpoint.denoiser.process != "absorbing":
        raise InputError(
            f"{checkpoint.id} is for {checkpoint.denoiser.process} noise, under which a token may change at every "
            "step, so none is committed and there is no hazard of committing together."
        )
    entries = np.cumsum([0, *(len(frame.written) for frame in trace.frames)])
    probability = _joined([frame.chosen for frame in trace.frames], np.float32).copy()
    tell = _teller(progress, hazard_cost(trace), _calls_a_row(trace))
    questions, asked = _left_out(checkpoint, trace), 0
    for question, belief in _answers(checkpoint, questions, rows, stopped, tell):
        token = torch.tensor([question.frame.tokens[question.entry]], dtype=torch.int64, device=belief.device)
        entry = entries[question.frame.step - 1] + question.entry
        probability[entry] = belief.probability(token, torch.zeros_like(token)).item()
        asked += 1
    steps = _steps_answered(trace, asked)
    return Hazard(steps, probability[: entries[steps]])


@dataclass(frozen=True)
class _Question:
    """A row for the denoiser.

    Attributes:
        lane: its tokens are the row; plan and stage say the time.
        wanted: [L] bool, where it is asked.
        frame: the step in question.
        entry: which of its `written`, where one of them is asked about.
    """

    lane: Lane
    wanted: Tensor
    frame: Frame
    entry: int = 0


def _left_out(checkpoint: Checkpoint, trace: Trace) -> Iterator[_Question]:
    """A row for each token that was committed beside others: the canvas after its step with that one masked."""
    for frame, lane in _walk(checkpoint, trace):
        commits = np.flatnonzero(_commits(frame, trace.mask_id)).tolist()
        after = _written_on(lane.tokens, frame)
        for entry in commits if len(commits) > 1 else []:
            wanted = torch.arange(len(after)) == int(frame.written[entry])
            yield _Question(_with_row(lane, after.masked_fill(wanted, trace.mask_id)), wanted, frame, entry)


def _with_row(lane: Lane, tokens: Tensor) -> Lane:
    """The lane with another row, at the time that its masks tell; the whole of it is gone over."""
    row = Lane(lane.canvas, replace(lane.config, cache=NONE), lane.clock, lane.number, lane.step, tokens)
    share = int(((tokens == lane.plan.mask_id) & lane.stage.open).sum()) / lane.stage.size
    row.plan, row.stage = lane.plan, replace(lane.stage, t=lane.plan.schedule.time_at(1.0 - share))
    return row


def _walk(checkpoint: Checkpoint, trace: Trace) -> Iterator[tuple[Frame, Lane]]:
    """Each frame with the lane as it stood before, ready to ask what it asked."""
    at, denoiser = -1, checkpoint.denoiser
    for frame, latents in zip(trace.frames, latents_along(checkpoint, trace), strict=False):
        if _segment_of(trace, frame.step) != at:
            at = _segment_of(trace, frame.step)
            segment = trace.segments[at]
            tokens, time = segment.canvas.tokens, segment.clock.start
        start = {"step": frame.step - 1, "tokens": tokens, "time": time, "latents": latents}
        lane = Lane(segment.canvas, trace.config, segment.clock, trace.lane, **start)
        if not (lane.prepared(denoiser) and _asks_as(lane, frame, trace.mask_id)):
            raise InputError(f"Step {frame.step} of this run does not follow from its settings.")
        yield frame, lane
        tokens, time = _written_on(lane.tokens, frame), frame.s


def _asks_as(lane: Lane, frame: Frame, mask_id: int) -> bool:
    asked = lane.asks(mask_id).nonzero().squeeze(-1).numpy()
    return not frame.fresh or np.array_equal(asked, frame.positions)


# ---------------------------------------------------------------- asking


def _answers(
    checkpoint: Checkpoint,
    questions: Iterable[_Question],
    rows: int,
    stopped: Stopped,
    tell: Callable[[int], None],
) -> Iterator[tuple[_Question, Belief]]:
    """Questions with their answers, batch by batch, until `stopped()` says so."""
    rules, waiting = FillRules.of(checkpoint.codec), iter(questions)
    caches: list[BlockCache] = []
    while not stopped():
        batch = list(islice(waiting, rows))
        if not batch:
            return
        for question in batch:
            caches = _asking(question, caches, checkpoint.denoiser)
        yield from zip(batch, _believe(checkpoint.denoiser, rules, batch), strict=True)
        tell(len(batch))


def _asking(question: _Question, caches: list[BlockCache], denoiser: Denoiser) -> list[BlockCache]:
    """Let a question know the caches of the one before it, as a run's steps do; gives its own for the next."""
    question.lane.caches = caches
    requests(question.lane, question.wanted, denoiser.mask_id)
    return question.lane.caches


@torch.inference_mode()
def _believe(denoiser: Denoiser, rules: FillRules, questions: Sequence[_Question]) -> list[Belief]:
    """The belief at the wanted positions of each question, in one forward pass, as the denoising loop has it."""
    rows = [requests(question.lane, question.wanted, denoiser.mask_id) for question in questions]
    parts = iter(forward(denoiser, [row for own in rows for row in own]))
    beliefs = []
    for question, own in zip(questions, rows, strict=True):
        lane, positions = question.lane, question.wanted.nonzero().squeeze(-1)
        logits = guided([next(parts) for _ in own], lane)
        logits = rules.apply(logits, lane.canvas.spacing[positions], lane.config.end_of_text)
        beliefs.append(Belief(positions, logits))
    return beliefs


@torch.inference_mode()
def _scored(belief: Belief, end: Tensor, mask_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability and rank [M] of what stands at the belief's positions in the end; 0 for a mask."""
    tokens = end[belief.positions].to(belief.device)
    nothing = tokens == mask_id
    logit = belief.logits.gather(1, tokens[:, None])
    rank = 1 + (belief.logits > logit).sum(-1)
    p = belief.probability(tokens, torch.arange(len(tokens), device=belief.device))
    return (
        p.masked_fill(nothing, 0.0).float().cpu().numpy(),
        rank.masked_fill(nothing, 0).to(torch.int32).cpu().numpy(),
    )


# ---------------------------------------------------------------- reading a trace


def _check(checkpoint: Checkpoint, trace: Trace, rows: int) -> None:
    if stranger := made_elsewhere(trace, checkpoint):
        raise InputError(stranger)
    if trace.state == "running":
        raise InputError("This run is still going on: its tokens can be scored once it has ended.")
    if rows < 1:
        raise InputError(f"rows must be at least 1, not {rows}.")


def _calls_a_row(trace: Trace) -> int:
    if trace.checkpoint.get("process") == "gaussian":
        return 1 if remembers(trace) else 2  # one to make the latents again, one to ask
    guided = trace.config.guidance and any(bool(segment.canvas.fixed.any()) for segment in trace.segments)
    return 2 if guided else 1


def _teller(progress: Progress | None, total: int, each: int) -> Callable[[int], None]:
    """Takes numbers of questions answered, and says them to `progress` as rows."""
    done = 0

    def tell(questions: int) -> None:
        nonlocal done
        done += questions * each
        if progress:
            progress(done, total)

    return tell


def _segment_of(trace: Trace, step: int) -> int:
    """Which segment the step was taken in."""
    return max(index for index, segment in enumerate(trace.segments) if segment.clock.first < step)


def _end_of(trace: Trace, index: int) -> Tensor:
    """[L] what stands where a segment ended."""
    following = trace.segments[index + 1 : index + 2]
    return trace.tokens_at(following[0].clock.first if following else trace.last_step, index)


def _written_on(tokens: Tensor, frame: Frame) -> Tensor:
    return tokens.index_copy(0, torch.from_numpy(frame.written).long(), torch.from_numpy(frame.tokens).long())


def _commits(frame: Frame, mask_id: int) -> np.ndarray:
    """[C] bool: which of the `written` are tokens that were drawn, not masks or what follows an end of text."""
    return (frame.tokens != mask_id) & (frame.chosen > 0)


def _steps_answered(trace: Trace, questions: int) -> int:
    """How many steps, from the first, need no more than that many answers."""
    needed = 0
    for frame in trace.frames:
        count = int(_commits(frame, trace.mask_id).sum())
        needed += count if count > 1 else 0
        if needed > questions:
            return frame.step - 1
    return trace.last_step


def _size(trace: Trace, steps: int, name: str) -> int:
    if type(steps) is not int or not 0 <= steps <= trace.last_step:
        raise ValueError(f"steps must be 0 to {trace.last_step}, not {steps}")
    return sum(len(getattr(frame, name)) for frame in trace.frames[:steps])


def _joined(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)
