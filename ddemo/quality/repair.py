"""Repair: how many deliberately wrong tokens a checkpoint puts right, and how many right ones it spoils.

Some tokens of a text are replaced by random ones. A repairer is told what share that is, and not where: a run goes on
from the time at which its noise would have made as many tokens wrong, with every position free.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddemo.denoisers import Checkpoint, TextCodec
from ddemo.errors import InputError
from ddemo.judge import Judge
from ddemo.measures import Value
from ddemo.processes import LINEAR, SCHEDULES
from ddemo.quality import held_out
from ddemo.quality.running import (
    TOGETHER,
    Circumstances,
    Progress,
    Tally,
    batches,
    canvas_of,
    mean,
    perplexity,
    seeded,
)
from ddemo.quality.tables import cell, markdown, percent
from ddemo.sampling import SAMPLERS, Clock, FillRules, Lane, SamplerConfig, check_process, denoise
from ddemo.sampling.loop import Request, forward
from ddemo.sampling.samplers.definition import BY_CLOCK
from ddemo.settings import default_sampler

WINDOWS, LENGTH, STEPS = 32, 64, 16
SHARES = (0.05, 0.15, 0.3)
REPAIRERS = {  # of each noise: sampler, draw
    "uniform": (
        ("uniform-ancestral", "sample"),
        ("uniform-ancestral", "argmax"),
        ("uniform-joint", "sample"),
        ("posterior-argmax", "argmax"),
    ),
    "absorbing": (
        ("confidence", "sample"),
        ("p2", "sample"),
        ("p2", "argmax"),
        ("remdm-conf", "sample"),
        ("remdm-rescale", "sample"),
    ),
}
LEAST_LIKELY = "the least likely, each masked in turn"
LEAST_LIKELY_STANDING = "the least likely as it stands"
UNTOUCHED, ORIGINAL = "nothing done", "original"


@dataclass(frozen=True)
class Damage:
    """Windows of text with some tokens replaced.

    Attributes:
        original: [N, L] int64.
        wrong: [N, L] bool, where another token stands now.
        tokens: [N, L] int64, what stands.
        words: [V] bool, what noise consists of.
    """

    original: Tensor
    wrong: Tensor
    tokens: Tensor
    words: Tensor

    @classmethod
    def of(cls, windows: Tensor, share: float, codec: TextCodec, generator: torch.Generator) -> "Damage":
        """round(share * L) tokens of each window, at least one, replaced by other words, each equally likely.

        The words are tokens that may be written and do not end a text.
        """
        count = max(1, round(share * windows.shape[1]))
        order = torch.rand(windows.shape, generator=generator).argsort(-1)
        wrong = torch.zeros_like(windows, dtype=torch.bool).scatter(1, order[:, :count], True)
        words = ~codec.never_drawn
        kinds = words.index_fill(0, codec.ends, False).nonzero().squeeze(-1)
        place = torch.searchsorted(kinds, windows).clamp_max(len(kinds) - 1)
        # Any of the kinds but the one that stands: a step of 1 .. K - 1 in the circle of all K.
        step = torch.randint(1, len(kinds), windows.shape, generator=generator)
        return cls(windows, wrong, torch.where(wrong, kinds[(place + step) % len(kinds)], windows), words)

    @property
    def count(self) -> int:
        """Wrong tokens of a window."""
        return int(self.wrong[0].sum())

    def time(self, config: SamplerConfig, process: str) -> float:
        """The t at which noise is expected to have changed as many tokens.

        1 - alpha is that share, and under uniform noise somewhat more: one in K of the tokens that are hit stays as
        it was.
        """
        share, kinds = self.count / self.wrong.shape[1], int(self.words.sum())
        hit = min(1.0, share * kinds / (kinds - 1)) if process == "uniform" else share
        return (SCHEDULES[config.schedule] if config.schedule else LINEAR).time_at(1.0 - hit)


@dataclass(frozen=True)
class Repaired:
    """A share of wrong tokens, repaired in one way; means over windows.

    Attributes:
        share: of wrong tokens.
        checkpoint: its id; "" where none was asked.
        by: what repaired it: a sampler's name, `LEAST_LIKELY`, `LEAST_LIKELY_STANDING`, `UNTOUCHED` or
            `ORIGINAL`.
        draw: "sample" or "argmax"; "" where nothing was drawn.
        restored: share of the wrong tokens that became the original ones.
        changed: share of the wrong tokens that became anything else than they were.
        damaged: share of the right tokens that became wrong.
        left: share of all tokens that are wrong afterwards.
        perplexity: the judge's, geometric mean.
        texts: what stands afterwards.
        nfe: denoiser calls; every row that is asked about counts.
        seconds: wall time, of windows that were run together.
    """

    share: float
    checkpoint: str
    by: str
    draw: str
    restored: Value | None
    changed: Value | None
    damaged: Value | None
    left: Value | None
    perplexity: Value
    texts: list[str]
    nfe: Value | None = None
    seconds: Value | None = None


@dataclass(frozen=True)
class Repair:
    """The result: for each share the text as it was and as it was damaged, then every way of repair.

    Attributes:
        circumstances: of the first checkpoint; others: the other checkpoints, as `Checkpoint.as_dict` says them.
        length: tokens of a window; steps: of each run.
    """

    circumstances: Circumstances
    others: list[dict[str, str]]
    length: int
    steps: int
    rows: list[Repaired]


def measure_repair(
    checkpoints: Sequence[Checkpoint],
    documents: Sequence[str],
    judge: Judge | None,
    shares: Sequence[float] = SHARES,
    windows: int = WINDOWS,
    length: int = LENGTH,
    steps: int = STEPS,
    seed: int = 0,
    together: int = TOGETHER,
    progress: Progress | None = None,
) -> Repair:
    """Damage windows of held-out text and have every checkpoint repair them, in each way that its noise has.

    - Uniform noise: its reverse process from the time at which as many tokens are wrong.
    - Masks: samplers, with remasking and without, from the time at which as many would be masked; and the tokens that
      the model finds least probable, masked and filled by the default sampler. How probable a token is, is asked with
      that one masked (`LEAST_LIKELY`), or of the text as it stands (`LEAST_LIKELY_STANDING`), where networks that
      learnt at masks alone extrapolate.

    Args:
        checkpoints: one or more with the same vocabulary.
        documents: held-out text.
        judge: an independent model; without one there are no perplexities.
        shares: of wrong tokens, in (0, 1).
        windows: how many; length: tokens of each.
        steps: that each run takes from its time to 0.
        seed: of windows, damage and the first window's runs; those of the others have the next seeds.
        together: windows in a batch.
        progress: (done, all), in windows run or judged.

    Raises:
        InputError: too little text, numbers out of range, checkpoints whose vocabularies differ, or one whose noise
            makes no wrong tokens (latents).
    """
    first = checkpoints[0]
    circumstances = Circumstances.of(first, judge, windows, seed)
    _check(checkpoints, shares, length, steps)
    generator = torch.Generator().manual_seed(seed)
    text = torch.stack(held_out.windows(first.codec, documents, windows, length, generator))
    ways = sum(len(REPAIRERS[one.denoiser.process]) + len(_doubts(one)) for one in checkpoints)
    tally = Tally(windows * len(shares) * (2 + 2 * ways), progress)
    rows = []
    for share in shares:
        damage = Damage.of(text, share, first.codec, generator)
        rows += _ends(damage, share, first.codec, judge, tally)
        for checkpoint in checkpoints:
            for work in _ways(checkpoint, damage, steps, seed, together):
                rows.append(_measured(checkpoint, damage, share, work, judge, tally))
    return Repair(circumstances, [one.as_dict() for one in checkpoints[1:]], length, steps, rows)


def _check(checkpoints: Sequence[Checkpoint], shares: Sequence[float], length: int, steps: int) -> None:
    for one in checkpoints:
        if one.denoiser.process not in REPAIRERS:
            raise InputError(f"{one.id} is for {one.denoiser.process} noise, under which no token is right or wrong.")
        if not _same_words(one.codec, checkpoints[0].codec):
            raise InputError(f"{one.id} and {checkpoints[0].id} have different tokens, so they cannot be compared.")
    longest = min(one.denoiser.max_length for one in checkpoints)
    if not 2 <= length <= longest:
        raise InputError(f"A window must have 2 to {longest} tokens, not {length}.")
    if steps < 2:
        raise InputError(f"steps must be at least 2, one to mask and one to fill, not {steps}.")
    if not shares or not all(0.0 < share < 1.0 for share in shares):
        raise InputError("The shares of wrong tokens must be above 0 and below 1.")


def _same_words(one: TextCodec, other: TextCodec) -> bool:
    return one.vocab_size == other.vocab_size and all(
        one.piece(token) == other.piece(token) for token in range(one.vocab_size)
    )


# ---------------------------------------------------------------- ways of repair


@dataclass(frozen=True)
class Work:
    """What a way of repair made of the windows.

    Attributes:
        by, draw: see `Repaired`.
        tokens: [N, L] int64.
        nfe: denoiser calls for each window.
        seconds: all in all.
    """

    by: str
    draw: str
    tokens: Tensor
    nfe: list[int]
    seconds: float


def _ways(checkpoint: Checkpoint, damage: Damage, steps: int, seed: int, together: int) -> Iterator[Work]:
    for sampler, draw in REPAIRERS[checkpoint.denoiser.process]:
        config = SamplerConfig(sampler, draw, candidates=0, **_more(sampler))
        yield by_going_on(checkpoint, config, damage, steps, seed, together)
    for way in _doubts(checkpoint):
        yield by_doubt(checkpoint, way, damage, steps, seed, together)


def _doubts(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The ways of `by_doubt`, which need masks."""
    return (LEAST_LIKELY, LEAST_LIKELY_STANDING) if checkpoint.denoiser.process == "absorbing" else ()


def _more(sampler: str) -> dict[str, float]:
    """ReMDM's usual eta is for a thousand steps: in a few it would change nothing, so it remasks all that it may."""
    return {"eta": 1.0} if sampler == "remdm-rescale" else {}


def by_going_on(
    checkpoint: Checkpoint, config: SamplerConfig, damage: Damage, steps: int, seed: int = 0, together: int = TOGETHER
) -> Work:
    """The last `steps` steps of a run with a stride that makes them begin where as many tokens are noised.

    Under absorbing noise no token is masked at the beginning, so as many are after the first step, where the sampler
    may mask them. Samplers that look at how probable a token was when it was written (ReMDM, confidence) are told by
    one call more.

    Raises:
        InputError: the sampler is for another noise, or takes no number of steps.
    """
    check_process(config, checkpoint.denoiser.process, checkpoint.id)
    if SAMPLERS[config.sampler].paced != BY_CLOCK:
        raise InputError(f"The sampler {config.sampler} has no times to begin at: take one that follows the clock.")
    process = checkpoint.denoiser.process
    # Masks have to be put there before they can be filled: the first step does that.
    to_go = steps if process == "uniform" else steps - 1
    every = max(steps, math.floor(to_go / damage.time(config, process) + 1e-9))  # steps of the run from t = 1 on
    began, free = time.perf_counter(), torch.ones(damage.tokens.shape[1], dtype=torch.bool)
    told = config.sampler == "remdm-conf"
    lanes = [
        Lane(
            canvas_of(tokens, free),
            replace(config, seed=seeded(seed, index)),
            Clock(0, every),
            step=every - steps,
            decoded=own_probability(checkpoint, tokens) if told else None,
        )
        for index, tokens in enumerate(damage.tokens)
    ]
    repaired = _run(checkpoint, lanes, together)
    nfe = [lane.nfe + told for lane in lanes]
    return Work(config.sampler, "argmax" if config.greedy else "sample", repaired, nfe, time.perf_counter() - began)


def by_doubt(
    checkpoint: Checkpoint, way: str, damage: Damage, steps: int, seed: int = 0, together: int = TOGETHER
) -> Work:
    """The tokens that are least probable, as many as are wrong, are masked together and filled by argmax.

    Args:
        way: `LEAST_LIKELY` asks given all other tokens, with a row for each (the scores of Salazar et al. 2020,
            "Masked Language Model Scoring", arXiv 1910.14659); `LEAST_LIKELY_STANDING` asks with one row.
    """
    began, mask_id = time.perf_counter(), checkpoint.codec.mask_id
    config = SamplerConfig(default_sampler("absorbing").name, "argmax", steps=steps, candidates=0)
    asked, rows = (probability_when_masked, damage.tokens.shape[1]) if way == LEAST_LIKELY else (own_probability, 1)
    lanes = []
    for index, tokens in enumerate(damage.tokens):
        worst = asked(checkpoint, tokens).argsort(stable=True)[: damage.count]
        free = torch.zeros(len(tokens), dtype=torch.bool).index_fill(0, worst, True)
        canvas = canvas_of(tokens, free, mask_id)
        lanes.append(Lane.fresh(canvas, replace(config, seed=seeded(seed, index)), mask_id))
    repaired = _run(checkpoint, lanes, together)
    return Work(way, "argmax", repaired, [lane.nfe + rows for lane in lanes], time.perf_counter() - began)


def _run(checkpoint: Checkpoint, lanes: Sequence[Lane], together: int) -> Tensor:
    """[N, L] what stands on each lane at its end. Raises what went wrong in a lane."""
    rules = FillRules.of(checkpoint.codec)
    for batch in batches(lanes, together):
        for _ in denoise(checkpoint.denoiser, batch, rules):
            pass
    for lane in lanes:
        if lane.failure:
            raise lane.failure
    return torch.stack([lane.tokens for lane in lanes])


@torch.inference_mode()
def own_probability(checkpoint: Checkpoint, tokens: Tensor) -> Tensor:
    """[L] float64: how probable each token is to the model, asked where it stands; one call."""
    everywhere, clean = torch.ones(len(tokens), dtype=torch.bool), torch.zeros(len(tokens))
    [logits] = forward(checkpoint.denoiser, [Request(tokens, everywhere, clean)])
    return _probability(checkpoint, logits, tokens)


@torch.inference_mode()
def probability_when_masked(checkpoint: Checkpoint, tokens: Tensor) -> Tensor:
    """[L] float64: how probable each token is given all others; a row with that one masked for each."""
    here = torch.eye(len(tokens), dtype=torch.bool)
    masked = tokens.masked_fill(here, checkpoint.codec.mask_id)  # [L, L]
    times = torch.full((len(tokens),), 1.0 / len(tokens))
    logits = forward(checkpoint.denoiser, [Request(row, at, times) for row, at in zip(masked, here, strict=True)])
    return _probability(checkpoint, torch.cat(list(logits)), tokens)


def _probability(checkpoint: Checkpoint, logits: Tensor, tokens: Tensor) -> Tensor:
    never = checkpoint.codec.never_drawn.to(logits.device)
    p = logits.masked_fill(never, -torch.inf).double().softmax(-1).cpu()
    return p.gather(1, tokens[:, None])[:, 0]


# ---------------------------------------------------------------- measures


def _ends(damage: Damage, share: float, codec: TextCodec, judge: Judge | None, tally: Tally) -> Iterator[Repaired]:
    """The text as it was, and as it was damaged."""
    for name, tokens in ((ORIGINAL, damage.original), (UNTOUCHED, damage.tokens)):
        texts = [codec.decode(row) for row in tokens.tolist()]
        left = mean((tokens != damage.original).double().mean(-1).tolist())
        yield Repaired(share, "", name, "", None, None, None, left, perplexity(judge, texts, tally), texts)


def _measured(
    checkpoint: Checkpoint, damage: Damage, share: float, work: Work, judge: Judge | None, tally: Tally
) -> Repaired:
    tally.add(len(work.tokens))
    texts = [checkpoint.codec.decode(row) for row in work.tokens.tolist()]
    right, wrong = ~damage.wrong, damage.wrong
    restored, moved = work.tokens == damage.original, work.tokens != damage.tokens
    return Repaired(
        share,
        checkpoint.id,
        work.by,
        work.draw,
        restored=_share(restored, wrong),
        changed=_share(moved, wrong),
        damaged=_share(~restored, right),
        left=mean((~restored).double().mean(-1).tolist()),
        perplexity=perplexity(judge, texts, tally),
        texts=texts,
        nfe=mean(work.nfe),
        seconds=Value(work.seconds / len(work.tokens)),
    )


def _share(which: Tensor, among: Tensor) -> Value:
    """Mean over windows of the share of `among` [N, L] bool that are `which` [N, L] bool."""
    return mean(((which & among).sum(-1) / among.sum(-1)).tolist())


def as_markdown(result: Repair) -> str:
    """The table of a model card."""
    head = ["wrong", "checkpoint", "repaired by", "draw"]
    head += ["wrong ones restored", "wrong ones changed", "right ones damaged", "wrong afterwards"]
    head += ["judge perplexity", "NFE", "seconds"]
    rows = [
        [
            f"{100 * row.share:g} %",
            row.checkpoint,
            f"{SAMPLERS[row.by].title} `{row.by}`" if row.by in SAMPLERS else row.by,
            row.draw,
            *(percent(value) for value in (row.restored, row.changed, row.damaged, row.left)),
            cell(row.perplexity, 1),
            cell(row.nfe, 1),
            cell(row.seconds, 2),
        ]
        for row in result.rows
    ]
    return markdown(head, rows, list(_notes(result)), numbers_from=4)


def _notes(result: Repair) -> Iterator[str]:
    others = "".join(f", and {one['id']} {one['revision']}" for one in result.others)
    yield (
        f"Windows of {result.length} tokens of held-out text, some tokens replaced by random ones. Every way is "
        f"told what share is wrong and none where; runs take {result.steps} steps from the time of that share. "
        f"{result.circumstances.sentence[:-1]}{others}."
    )
