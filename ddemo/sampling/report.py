"""What a step has to tell, gathered on the denoiser's device and copied to the CPU once a turn for all lanes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ddemo.sampling.frame import NOWHERE
from ddemo.sampling.samplers import Move, Turn


@dataclass(frozen=True)
class Facts:
    """A report on the CPU.

    Attributes:
        after: [M] int32, what stands at the rows afterwards.
        chosen: [M] float32, its probability before temperature; 0 for a mask.
        entropy: [M] float32, and ids, probabilities: [M, k]; empty when the belief is not fresh.
        distance, margin: [M] float32, and plane: [M, 2], of a `Landing`; empty where there is none.
    """

    after: np.ndarray
    chosen: np.ndarray
    entropy: np.ndarray
    ids: np.ndarray
    probabilities: np.ndarray
    distance: np.ndarray = field(default_factory=lambda: NOWHERE["distance"])
    margin: np.ndarray = field(default_factory=lambda: NOWHERE["margin"])
    plane: np.ndarray = field(default_factory=lambda: NOWHERE["plane"])


class Report:
    """A move, with what a viewer wants to know about it, still on the device.

    Args:
        turn: what the step saw.
        move: what it wants.
        fresh: whether the denoiser was asked for this step, so that candidates and entropy are worth telling.
    """

    def __init__(self, turn: Turn, move: Move, fresh: bool):
        self.turn, self.move = turn, move
        belief = turn.belief
        self.fresh = fresh and len(belief) > 0
        self.parts: list[Tensor] = [move.after, belief.probability(move.after, turn.every)]
        if self.fresh:
            self.parts += [belief.entropy, *belief.top(turn.config.candidates)]
        if landing := move.landing:
            self.parts += [landing.distance, landing.margin, landing.plane]

    def facts(self, numbers: np.ndarray) -> Facts:
        """Read the report back from its 32-bit numbers, in the order of `parts`."""
        sizes = np.cumsum([part.numel() for part in self.parts])
        arrays = [
            piece.view(np.float32 if part.is_floating_point() else np.int32).reshape(part.shape)
            for piece, part in zip(np.split(numbers, sizes[:-1]), self.parts, strict=True)
        ]
        if not self.fresh:
            untold = [np.empty(0, np.float32), np.empty((0, 0), np.int32), np.empty((0, 0), np.float32)]
            arrays[2:2] = untold
        return Facts(*arrays)


def collect(reports: Sequence[Report]) -> list[Facts]:
    """All reports in one copy from the device: every number as the 32 bits of an integer."""
    if not reports:
        return []
    flat = [_as_integers(part) for report in reports for part in report.parts]
    numbers = torch.cat(flat).cpu().numpy()
    sizes = np.cumsum([sum(part.numel() for part in report.parts) for report in reports])
    pieces = np.split(numbers, sizes[:-1])
    # Copies, so that whoever keeps a lane's frame does not keep the numbers of all other lanes with it.
    return [report.facts(piece.copy()) for report, piece in zip(reports, pieces, strict=True)]


def _as_integers(part: Tensor) -> Tensor:
    part = part.flatten()
    return part.float().view(torch.int32) if part.is_floating_point() else part.to(torch.int32)
