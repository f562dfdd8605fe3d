"""What is said of finished lanes side by side: diversity, repetition, agreement, quality, cost. See docs/measures.md.

Diversity and repetition count words, as their sources do, so that checkpoints with different tokens can be compared.
Distances and agreement count tokens, which is what lanes of one canvas choose. Only what a lane wrote is counted, and
not the text that was given, which all lanes have in common; the bound and the judge read the whole text.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations, groupby
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from ddemo.metrics import bound

if TYPE_CHECKING:
    from ddemo.denoisers import Checkpoint, TextCodec
    from ddemo.judge import Judge
    from ddemo.trace import Trace

log = logging.getLogger(__name__)

WORD = re.compile(r"\w+(?:['’-]\w+)*")
REPEATED = 4  # words in a row whose return is a repetition
TIMES, ESTIMATES = 8, 4  # of the bound: denoiser rows an estimate, and estimates, from which its standard error is
NO_JUDGE = "No judge is installed; the documentation says how to add one."
STOPPED = "It was stopped before this was measured."
PENDING = "It has not been measured yet."


@dataclass(frozen=True)
class Value:
    """A number, or why there is none.

    Attributes:
        number: None where the measure is undefined.
        error: its standard error, where it has one.
        why: one sentence where the number is missing or stands for fewer lanes than are shown.
    """

    number: float | None
    error: float | None = None
    why: str = ""


# ---------------------------------------------------------------- words and n-grams


def words(text: str) -> list[str]:
    """The words of a text in small letters: letters and digits, joined by apostrophes or hyphens; no punctuation."""
    return [found.casefold() for found in WORD.findall(text)]


def ngrams(texts: Iterable[Sequence[Hashable]], n: int) -> list[tuple]:
    """All runs of n neighbours in the texts; none across two texts."""
    return [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]


def distinct_n(texts: Iterable[Sequence[Hashable]], n: int) -> float | None:
    """Different n-grams over all n-grams of the texts, taken together; None where there is none.

    1 when nothing is ever said twice. It falls with the amount of text, so only texts of like length compare.
    Source: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models" (arXiv
    1510.03055), who divide by the number of words; to divide by the number of n-grams is what most later work does,
    and differs by the n - 1 words at the end of a text.
    """
    found = ngrams(texts, n)
    return len(set(found)) / len(found) if found else None


def repetition(texts: Iterable[Sequence[Hashable]], n: int = REPEATED) -> float | None:
    """The share of n-grams that the texts have had before: 1 - different / all; None where there is none.

    Source: seq-rep-n, with n = 4, of Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training" (arXiv
    1908.04319).
    """
    different = distinct_n(texts, n)
    return None if different is None else 1.0 - different


def edit_distance(texts: Sequence[Sequence[Hashable]]) -> float | None:
    """Mean over all pairs of the fewest insertions, deletions and substitutions that make one text of the other
    (Levenshtein 1966), over the length of the longer; None for fewer than two texts.

    0 when all are the same, 1 when no two have anything in common.
    """
    pairs = [Levenshtein.normalized_distance(one, other) for one, other in combinations(texts, 2)]
    return fmean(pairs) if pairs else None


# ---------------------------------------------------------------- lanes


@dataclass(frozen=True)
class Writing:
    """What a lane has written.

    Attributes:
        tokens: ids at the positions that were not given, without masks and what ends the text.
        stretches: the words of each stretch of such positions.
        ids: the whole text's tokens, up to its end.
        text: the same as people read it; masks are left out.
        masks: how many masks are left.
    """

    tokens: list[int]
    stretches: list[list[str]]
    ids: Tensor
    text: str
    masks: int


def writing(trace: Trace, codec: TextCodec) -> Writing:
    """A trace as it stands after its last step."""
    canvas = trace.canvas_at(trace.last_step)
    end = _end(canvas.tokens, canvas.fixed, codec.ends)
    ids, fixed = canvas.tokens[:end], canvas.fixed[:end].tolist()
    written = [position for position, held in enumerate(fixed) if not held and ids[position] != trace.mask_id]
    runs = [[i for _, i in run] for _, run in groupby(enumerate(written), lambda pair: pair[1] - pair[0])]
    shown = codec.aligned(ids.tolist())
    return Writing(
        tokens=ids[written].tolist(),
        stretches=[words(codec.decode(ids[run].tolist())) for run in runs],
        ids=ids,
        text="".join(canvas.own.get(i, shown[i]) for i in range(len(ids)) if ids[i] != trace.mask_id),
        masks=int((canvas.tokens == trace.mask_id).sum()),
    )


def _end(tokens: Tensor, fixed: Tensor, ends: Tensor) -> int:
    """Where the text is over: at the first token that says so and was not given, else at the end of the canvas."""
    over = (torch.isin(tokens, ends) & ~fixed).nonzero().flatten().tolist()
    return over[0] if over else len(tokens)


def bits_per_character(checkpoint: Checkpoint, written: Writing) -> Value:
    """The checkpoint's own bound on the whole text (`ddemo.metrics.bound`): how surprising it finds what it wrote.

    Estimated `ESTIMATES` times over, from which the standard error is. Texts of the same length are noised alike, so
    that they compare.
    """
    if written.masks:
        return Value(None, why="The text is not finished: masks are left in it.")
    if not written.text:
        return Value(None, why="There is no text.")
    windows, characters = [written.ids] * ESTIMATES, [len(written.text)] * ESTIMATES
    allowed = ~checkpoint.codec.never_drawn
    found = bound(checkpoint.denoiser, windows, characters, times=TIMES, words=allowed)
    if not math.isfinite(found.bits_per_char):
        return Value(None, why="The text holds a token that this checkpoint finds impossible.")
    return Value(found.bits_per_char, found.bits_per_char_stderr)


def perplexity(judge: Judge | None, written: Writing, no_judge: str = NO_JUDGE) -> Value:
    """Of the whole text under an independent autoregressive model (`ddemo.judge`)."""
    if judge is not None and written.masks:
        return Value(None, why="The text is not finished: masks are left in it.")
    return perplexity_of(judge, written.text, no_judge)


def perplexity_of(judge: Judge | None, text: str, no_judge: str = NO_JUDGE) -> Value:
    """Of a text as it stands."""
    if judge is None:
        return Value(None, why=no_judge)
    found = judge.perplexity(text)
    return Value(found, why="" if found is not None else "The text is shorter than two tokens of the judge.")


def of_words(stretches: Sequence[Sequence[Sequence[str]]]) -> dict[str, Value]:
    """distinct-1, -2 and -3 of the words of some lanes, taken together."""
    every = [stretch for lane in stretches for stretch in lane]
    return {f"distinct_{n}": _counted(distinct_n(every, n), n) for n in (1, 2, 3)}


def _counted(number: float | None, n: int) -> Value:
    return Value(number, why="" if number is not None else f"Nothing was written of {n} words in a row or more.")


# ---------------------------------------------------------------- lanes side by side


@dataclass(frozen=True)
class Place:
    """A step (0: where the runs begin) and a position."""

    step: int
    position: int


@dataclass(frozen=True)
class Agreement:
    """Where lanes over the same canvas hold the same tokens.

    Attributes:
        positions: for each position of the canvas, the chance that two different lanes hold the same token there;
            None where the token was given, or fewer than two lanes hold one.
        parted: the first step after which two lanes' canvases differ, and the leftmost such position; None when they
            never do.
        clashed: the first step after which two lanes hold different tokens at one position, rather than one of them
            a mask.
        why: why there is none of these.
    """

    positions: list[float | None] = field(default_factory=list)
    parted: Place | None = None
    clashed: Place | None = None
    why: str = ""

    @property
    def mean(self) -> float | None:
        """Over the positions where it is defined."""
        known = [value for value in self.positions if value is not None]
        return fmean(known) if known else None


def agreement(traces: Sequence[Trace]) -> Agreement:
    """Position by position and step by step; a lane that has ended stays as it is."""
    if len(traces) < 2:
        return Agreement(why="There is only one lane.")
    given = [trace.segments[-1].canvas for trace in traces]
    first = given[0].fixed
    if any(len(trace.segments) > 1 for trace in traces):
        return Agreement(why="A lane was edited on its way, so the lanes are no longer of one canvas.")
    if not all(torch.equal(c.fixed, first) and torch.equal(c.tokens[first], given[0].tokens[first]) for c in given):
        return Agreement(why="The lanes are not of one canvas.")
    last = torch.stack([trace.tokens_at(trace.last_step) for trace in traces])  # [lanes, L]
    held = [[token for token in column if token != traces[0].mask_id] for column in last.T.tolist()]
    positions = [None if fixed else _same_of_two(column) for column, fixed in zip(held, first.tolist(), strict=True)]
    parted, clashed = _partings(traces)
    return Agreement(positions, parted, clashed)


def _same_of_two(column: Sequence[Hashable]) -> float | None:
    """The chance that two different entries, picked at random, are equal."""
    pairs = len(column) * (len(column) - 1)
    return sum(count * (count - 1) for count in Counter(column).values()) / pairs if pairs else None


def _partings(traces: Sequence[Trace]) -> tuple[Place | None, Place | None]:
    mask_id = traces[0].mask_id
    lanes = torch.stack([trace.segments[0].canvas.tokens for trace in traces])
    parted = clashed = None
    for step in range(max(trace.last_step for trace in traces) + 1):
        for lane, trace in zip(lanes, traces, strict=True):
            if 1 <= step <= trace.last_step:
                frame = trace.frames[step - 1]
                lane[torch.from_numpy(frame.written).long()] = torch.from_numpy(frame.tokens).long()
        parted = parted or _first(step, lanes.amin(0) != lanes.amax(0))
        masked = lanes == mask_id
        least = lanes.masked_fill(masked, torch.iinfo(torch.int64).max).amin(0)
        clashed = clashed or _first(step, least < lanes.masked_fill(masked, -1).amax(0))
        if clashed:  # and so parted
            break
    return parted, clashed


def _first(step: int, where: Tensor) -> Place | None:
    return Place(step, int(where.int().argmax())) if bool(where.any()) else None


@dataclass(frozen=True)
class Comparison:
    """All measures of some lanes.

    Attributes:
        lanes: for each lane, name -> value: distinct_1, distinct_2, distinct_3, repetition, bits_per_character,
            perplexity, nfe, seconds.
        groups: for each group the same of its lanes: distinct-n of their words taken together, else means over lanes
            with standard errors (of perplexity the geometric mean); and edit_distance, agreement.
        agreement: position by position, of all lanes.
        done: how many lanes have been measured; the others' long measures say `PENDING`.
    """

    lanes: list[dict[str, Value]]
    groups: dict[str, dict[str, Value]]
    agreement: Agreement
    done: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def measured(checkpoint: Checkpoint, traces: Sequence[Trace], *arguments, **keywords) -> Comparison:
    """Everything that is measured; arguments as for `measuring`, whose last word this is."""
    *_, last = measuring(checkpoint, traces, *arguments, **keywords)
    return last


def measuring(
    checkpoint: Checkpoint,
    traces: Sequence[Trace],
    groups: Mapping[str, Sequence[int]] | None = None,
    judge: Judge | None = None,
    no_judge: str = NO_JUDGE,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Comparison]:
    """Measure lanes that are done or were stopped, one after the other; all that is known so far after each.

    What cannot be measured says why and leaves the rest standing. What takes no time is there at once.

    Args:
        groups: name -> places of its lanes; without it all lanes are one group, "lanes".
        judge: an independent model, if there is one; no_judge: why there is none.
        stopped: asked before each long measure; what is missing then says so.
    """
    groups = {"lanes": range(len(traces))} if groups is None else groups
    written = [writing(trace, checkpoint.codec) for trace in traces]
    lanes = [_at_once(trace, mine) for trace, mine in zip(traces, written, strict=True)]
    same = agreement(traces)
    same_of = {name: agreement([traces[i] for i in places]) for name, places in groups.items()}

    def so_far(done: int) -> Comparison:
        found = {
            name: _of_group([lanes[i] for i in places], [written[i] for i in places], same_of[name])
            for name, places in groups.items()
        }
        return Comparison([*lanes], found, same, done)

    yield so_far(0)
    for done, mine in enumerate(written, start=1):
        long = {
            "bits_per_character": lambda mine=mine: bits_per_character(checkpoint, mine),
            "perplexity": lambda mine=mine: perplexity(judge, mine, no_judge),
        }
        found = {name: Value(None, why=STOPPED) if stopped() else _tried(work) for name, work in long.items()}
        lanes[done - 1] = lanes[done - 1] | found
        yield so_far(done)


def _at_once(trace: Trace, mine: Writing) -> dict[str, Value]:
    """A lane's measures that take no time; the others are pending."""
    return {
        **of_words([mine.stretches]),
        "repetition": _counted(repetition(mine.stretches), REPEATED),
        "bits_per_character": Value(None, why=PENDING),
        "perplexity": Value(None, why=PENDING),
        "nfe": Value(trace.nfe),
        "seconds": Value(trace.seconds),
    }


def _tried(work: Callable[[], Value]) -> Value:
    """One measure that fails does not take the others with it."""
    try:
        return work()
    except Exception as problem:
        log.exception("a measure failed")
        return Value(None, why=f"It could not be measured ({type(problem).__name__}).")


def _of_group(lanes: Sequence[dict[str, Value]], written: Sequence[Writing], same: Agreement) -> dict[str, Value]:
    apart = edit_distance([mine.tokens for mine in written if mine.tokens])
    group = of_words([mine.stretches for mine in written])
    group["edit_distance"] = Value(apart, why="" if apart is not None else "Fewer than two lanes wrote anything.")
    shared = "" if same.mean is not None else same.why or "No position was filled by two lanes."
    group["agreement"] = Value(same.mean, why=shared)
    for name in ("repetition", "bits_per_character", "nfe", "seconds"):
        group[name] = mean_of([lane[name] for lane in lanes])
    group["perplexity"] = mean_of([lane["perplexity"] for lane in lanes], geometric=True)
    return group


def mean_of(values: Sequence[Value], geometric: bool = False) -> Value:
    """The mean over lanes that have the value, with its standard error over them; that of one lane is unknown."""
    known = [value.number for value in values if value.number is not None]
    if not known:
        return Value(None, why=values[0].why if values else "There is no lane.")
    numbers = [math.log(number) for number in known] if geometric else known
    mean, error = fmean(numbers), stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    if geometric:
        mean = math.exp(mean)
        error = None if error is None else mean * error
    why = f"Over {len(known)} of {len(values)} lanes, since the others have none." if len(known) < len(values) else ""
    return Value(mean, error, why)
