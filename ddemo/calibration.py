"""Calibration: whether a denoiser is right as often as it is sure, and what its surprise adds to the bound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ddemo.denoisers import Denoiser
from ddemo.errors import InputError
from ddemo.metrics import answer_to, draw_noise, ratio

BINS = 10  # of confidence
ROWS = 8  # that go through the denoiser at once, so that others have their turn between


@dataclass(frozen=True)
class Reliability:
    """Confidence against correctness, by bins of equal width from 0 to 1.

    Attributes:
        counts: [B] int64, positions in each bin.
        confidence, accuracy: [B] float64, means in each bin; NaN in an empty one.
    """

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def bins(self) -> list[tuple[int, float, float]]:
        """Count, confidence and accuracy of every bin that is not empty, as numbers."""
        columns = (x.tolist() for x in (self.counts, self.confidence, self.accuracy))
        return [bin for bin in zip(*columns, strict=True) if bin[0]]

    @property
    def total(self) -> int:
        """How many positions there are."""
        return int(self.counts.sum())

    @property
    def means(self) -> tuple[float, float]:
        """Mean confidence and the share that is right, of all positions; NaN where nothing was asked."""
        if not self.total:
            return math.nan, math.nan
        parts = (self.confidence.nan_to_num(), self.accuracy.nan_to_num())
        return tuple(float((self.counts * part).sum()) / self.total for part in parts)

    @property
    def error(self) -> float:
        """The expected calibration error: |accuracy - confidence|, weighted by counts; NaN where nothing was asked.

        Source: Naeini et al. 2015; Guo et al. 2017 (arXiv 1706.04599), eq. 3.
        """
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return float((self.counts * gaps).sum()) / self.total if self.total else math.nan


@dataclass(frozen=True)
class Calibration:
    """What was found so far.

    Attributes:
        confidence: [N] float64, p(x_0 | x_t) of the likeliest token, of every position that was asked about.
        correct: [N] bool, whether it was the true one.
        times: [N] float32, the t at which it was asked.
        nats: [n, T] float64, the bound's integrand of n windows at T stratified draws of t.
        characters: [n] float64.
        windows: how many there will be.
    """

    confidence: Tensor
    correct: Tensor
    times: Tensor
    nats: Tensor
    characters: Tensor
    windows: int

    def reliability(self, low: float = 0.0, high: float = 1.0) -> Reliability:
        """Of the positions asked about at low < t <= high."""
        chosen = (self.times > low) & (self.times <= high)
        confidence, correct = self.confidence[chosen], self.correct[chosen].double()
        place = (confidence * BINS).long().clamp_max(BINS - 1)
        counts = torch.bincount(place, minlength=BINS)
        sums = (torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, x) for x in (confidence, correct))
        return Reliability(counts, *(total / counts for total in sums))

    @property
    def integrand(self) -> list[tuple[float, float]]:
        """Bits a character and unit of t with its standard error over windows, for each of T stretches of t."""
        return [ratio(nats / math.log(2), self.characters) for nats in self.nats.T]

    @property
    def bits_per_char(self) -> tuple[float, float]:
        """The bound, which is the area under `integrand`, and its standard error; as `ddemo.metrics.bound` has it."""
        return ratio(self.nats.mean(1) / math.log(2), self.characters)


def calibrate(
    denoiser: Denoiser,
    windows: Sequence[Tensor],
    characters: Sequence[int],
    times: int = 8,
    seed: int = 0,
    words: Tensor | None = None,
) -> Iterator[Calibration]:
    """Noise a share t of known text, ask what stood there, and compare; window by window, growing.

    A share t of each window is noised on the linear schedule, alpha(t) = 1 - t, at `times` stratified draws of t.
    Masks are asked about; under uniform noise every token, since any may be noise.

    Args:
        windows: n tensors [L_i] int64 of token ids.
        characters: how many characters each of them stands for.
        words: [V] bool, what uniform noise consists of.

    Raises:
        InputError: no windows, numbers out of range, or a denoiser of latents, whose tokens are never replaced.
    """
    if denoiser.process == "gaussian":
        raise InputError(
            f"{denoiser.id} is for Gaussian noise on embeddings, which blurs every token a little and replaces none, "
            "so that there is no share of noised tokens to be right or wrong about."
        )
    if not windows or len(windows) != len(characters):
        raise InputError(f"Need as many character counts as windows, and at least one window ({len(windows)}).")
    if times < 1:
        raise InputError(f"The number of draws must be at least 1, not {times}.")
    generator = torch.Generator().manual_seed(seed)
    draw = partial(draw_noise, denoiser.process, times=times, generator=generator, words=words)
    found: list[tuple[Tensor, ...]] = []
    integrand: list[Tensor] = []
    for number, window in enumerate(windows, start=1):
        noised = draw([window])
        nats = []
        for rows in torch.arange(times).split(ROWS):
            part = noised.rows(rows)
            answer = answer_to(denoiser, part, words)
            surest, confidence = answer.surest()
            when = part.t[:, None].expand(answer.asked.shape)[answer.asked]
            found.append((confidence, surest == part.clean[answer.asked], when))
            nats.append(answer.nats)
        integrand.append(torch.cat(nats))
        columns = (torch.cat(column) for column in zip(*found, strict=True))
        letters = torch.tensor(characters[:number], dtype=torch.float64)
        yield Calibration(*columns, torch.stack(integrand), letters, len(windows))
