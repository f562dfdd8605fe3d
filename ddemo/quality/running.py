"""What the three measurements share: counting what is done, running texts in batches, means over texts."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddemo import runs
from ddemo.denoisers import Checkpoint
from ddemo.errors import InputError
from ddemo.judge import Judge
from ddemo.measures import Value, mean_of, perplexity_of
from ddemo.sampling import Canvas
from ddemo.sampling.config import MAX_SEED, quoted
from ddemo.trace import Trace

TOGETHER = 16  # texts that share their forward passes

Progress = Callable[[int, int], None]  # (done, in all)


class Tally:
    """Counts what is done, and tells it to a callback."""

    def __init__(self, total: int, progress: Progress | None = None):
        self.done, self.total, self.progress = 0, total, progress

    def add(self, count: int = 1) -> None:
        self.done += count
        if self.progress:
            self.progress(self.done, self.total)


@dataclass(frozen=True)
class Circumstances:
    """What was measured with what.

    Attributes:
        checkpoint: as `Checkpoint.as_dict` says it.
        judge: its name, or "none".
        texts: how many.
        seed: of everything that is drawn.
        versions: of the libraries.
    """

    checkpoint: dict[str, str]
    judge: str
    texts: int
    seed: int
    versions: dict[str, str]

    @classmethod
    def of(cls, checkpoint: Checkpoint, judge: Judge | None, texts: int, seed: int) -> "Circumstances":
        """Raises InputError for a seed out of range."""
        if type(seed) is not int or not 0 <= seed <= MAX_SEED:
            raise InputError(f"seed must be a whole number from 0 to {MAX_SEED:,}, not {quoted(seed)}.")
        named = "none" if judge is None else judge.name
        return cls(checkpoint.as_dict(), named, texts, seed, runs.library_versions())

    @property
    def sentence(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.checkpoint['id']} {self.checkpoint['revision']}, {self.checkpoint['dtype']} on "
            f"{self.checkpoint['device']}; {self.texts} texts, seed {self.seed}; ± is the standard error over texts; "
            f"judge: {self.judge}; {versions}."
        )


# ---------------------------------------------------------------- running


def carried_out(
    checkpoint: Checkpoint, traces: Sequence[Trace], together: int, tally: Tally
) -> Iterator[tuple[Trace, float]]:
    """Each trace run to its end, and the seconds that it took as one of a batch of `together`."""
    for batch in batches(traces, together):
        began = time.perf_counter()
        for _ in runs.carry_out_together(checkpoint, batch):
            pass
        seconds = (time.perf_counter() - began) / len(batch)
        tally.add(len(batch))
        yield from ((trace, seconds) for trace in batch)


def canvas_of(tokens: Tensor, free: Tensor, mask_id: int | None = None) -> Canvas:
    """The canvas of tokens [L] that may change where `free` [L] is true; masked there, given a mask."""
    shown = tokens if mask_id is None else tokens.masked_fill(free, mask_id)
    return Canvas(shown, ~free, torch.zeros(len(tokens), dtype=torch.uint8))


def batches(items: Sequence, together: int) -> Iterator[Sequence]:
    """Runs of `together` items. Raises InputError for fewer than one."""
    if together < 1:
        raise InputError(f"The number of texts in a batch must be at least 1, not {together}.")
    return (items[first : first + together] for first in range(0, len(items), together))


def seeded(seed: int, index: int) -> int:
    """The seed of a run's text number `index`: the next ones."""
    return (seed + index) % (MAX_SEED + 1)


# ---------------------------------------------------------------- means


def mean(numbers: Sequence[float]) -> Value:
    """With the standard error over texts."""
    return mean_of([Value(float(number)) for number in numbers])


def perplexity(judge: Judge | None, texts: Sequence[str], tally: Tally) -> Value:
    """The geometric mean of the texts' perplexities, with the standard error over texts."""
    found = []
    for text in texts:
        found.append(perplexity_of(judge, text))
        tally.add()
    return mean_of(found, geometric=True)
