"""A frame: what one step of one lane did."""

from dataclasses import dataclass

import numpy as np


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
