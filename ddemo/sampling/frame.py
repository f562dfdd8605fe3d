"""A frame: what one step of one lane did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ddemo.sampling.latents import Latents

NOWHERE = {
    "distance": np.empty(0, np.float32),
    "margin": np.empty(0, np.float32),
    "plane": np.empty((0, 2), np.float32),
}  # of a lane without latents


@dataclass(frozen=True)
class Frame:
    """What one step did; facts only.

    Attributes:
        step: number of the step, from 1.
        t, s: times before and after it.
        nfe: denoiser calls of the lane so far.
        positions: [M] int32, where the denoiser was asked; empty when the last answer was used again.
        entropy: [M] float32, nats.
        ids, probabilities: [M, k] int32 and float32, likeliest tokens first, before temperature.
        written: [C] int32 positions that this step changed, ascending.
        tokens: [C] int32 what was written there; the mask id where a token was masked again.
        chosen: [C] float32 its probability at that moment, before temperature; 0 for a mask, and for what a run that
            stopped at the end of its text put after it.
        distance, margin: [M] float32 under Gaussian noise, of each position's latent after the step: to the nearest
            embedding, and how much farther the second is. Empty under other noise.
        plane: [M, 2] float32, the same latents in the plane of `ddemo.processes.gaussian.Space.axes`.
        latents: all of them after the step, to go on from; not in a trace's file, nor in the frames of a long run.
    """

    step: int
    t: float
    s: float
    nfe: int
    positions: np.ndarray
    entropy: np.ndarray
    ids: np.ndarray
    probabilities: np.ndarray
    written: np.ndarray
    tokens: np.ndarray
    chosen: np.ndarray
    distance: np.ndarray = field(default_factory=lambda: NOWHERE["distance"])
    margin: np.ndarray = field(default_factory=lambda: NOWHERE["margin"])
    plane: np.ndarray = field(default_factory=lambda: NOWHERE["plane"])
    latents: Latents | None = field(default=None, repr=False, compare=False)

    @property
    def fresh(self) -> bool:
        """Whether the denoiser was called for this step."""
        return len(self.positions) > 0


ARRAYS = {
    "positions": np.int32,
    "entropy": np.float32,
    "ids": np.int32,
    "probabilities": np.float32,
    "written": np.int32,
    "tokens": np.int32,
    "chosen": np.float32,
}
