"""Latents: what a lane holds under Gaussian noise, a point of R^D for every position in place of its token.

A position has a time of its own. The clock's is that of most of them; a word that is known has time 0 and stays at
its embedding, and one that stood at an earlier time when a visitor masked others waits there for the clock. So a mask
begins in pure noise at t = 1 whatever stands around it, and the denoiser is told the noise of each position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddemo.processes import gaussian
from ddemo.processes.gaussian import Space
from ddemo.sampling.canvas import Canvas
from ddemo.sampling.randomness import normals

MOST_KEPT = 2**25  # bytes of latents that the frames of a run keep in memory


@dataclass(frozen=True, eq=False)
class Latents:
    """x_t of one lane.

    Attributes:
        points: [L, D] float64 on the device of the beliefs; the word's embedding where it is known.
        held: [L] float64 on the CPU, the time at which a position waits until the clock gets there; 0 where the word
            is known.
    """

    points: Tensor
    held: Tensor

    def times(self, t: float) -> Tensor:
        """[L] float64: the time of each position when the clock says t."""
        return self.held.clamp_max(t)

    def kept_for(self, steps: int) -> Latents | None:
        """These, where a run of so many steps can keep them all."""
        return self if steps * self.points.numel() * self.points.element_size() <= MOST_KEPT else None

    def moved(self, positions: Tensor, points: Tensor) -> Latents:
        """The same with `points` [M, D] at `positions` [M]."""
        return Latents(self.points.index_copy(0, positions.to(self.points.device), points), self.held)


@dataclass(frozen=True, eq=False)
class Landing:
    """Where a step takes the latents of its rows, and what a viewer wants to know about that.

    Attributes:
        points: [M, D] float64.
        distance: [M] to the nearest embedding that may stand there.
        margin: [M] by how much the second is farther; 0 where there is no second.
        plane: [M, 2], the points in the plane of `Space.axes`.
    """

    points: Tensor
    distance: Tensor
    margin: Tensor
    plane: Tensor


def landed(points: Tensor, space: Space, refused: Tensor) -> tuple[Tensor, Landing]:
    """The words [M] int64 that points [M, D] are rounded to, and how they lie among them.

    Args:
        refused: [V] or [M, V] bool, what may not stand there.
    """
    words, distances = gaussian.nearest(points, space.embeddings, refused)
    nearest, second = distances[:, 0], distances[:, -1]
    margin = torch.where(second.isinf(), 0.0, second - nearest)
    return words, Landing(points, nearest, margin, space.seen(points))


def signal(t: float) -> float:
    """alpha at t as the steps reckon it: 1 at t = 0, so that the last step arrives at what it aims at."""
    return 1.0 if t == 0.0 else gaussian.alpha_bar(t)


def from_noise(canvas: Canvas, space: Space, seed: int, lane: int = 0, step: int = 0) -> Latents:
    """x_1: normal noise at every position that is free, as a function of seed, lane and `step`."""
    noise = _noise(canvas, space, seed, lane, step)
    fixed = canvas.fixed.to(noise.device)[:, None]
    return Latents(torch.where(fixed, _embedded(canvas, space), noise), (~canvas.fixed).double())


def carried_over(
    before: Latents, time: float, canvas: Canvas, kept: Sequence[int], space: Space, seed: int, lane: int, step: int
) -> Latents:
    """Latents of an edited canvas from those that stood at `time` after `step`.

    Positions that are kept free go on; masks begin anew in noise at t = 1; fixed ones are at their word; a word that
    was held and has been let go is noised to `time`.

    Args:
        before: where the edit was made.
        canvas: the edited one, [L].
        kept: [L], where each position stood before, -1 for what is new there.
    """
    origin = torch.tensor(kept, dtype=torch.int64)
    source, new = origin.clamp_min(0), origin < 0
    let_go = ~canvas.fixed & ~new & (before.held[source] == 0.0)
    noise, words = _noise(canvas, space, seed, lane, step), _embedded(canvas, space)
    points, held = before.points[source.to(noise.device)], before.held[source].clamp_max(time)
    points[new], held[new] = noise[new], 1.0
    points[let_go], held[let_go] = gaussian.noised(words, signal(time), noise)[let_go], time
    points[canvas.fixed], held[canvas.fixed] = words[canvas.fixed], 0.0
    return Latents(points, held)


def rounded_noise(
    canvas: Canvas, mask_id: int, space: Space, never: Tensor, seed: int, lane: int = 0, step: int = 0
) -> Canvas:
    """The canvas with each mask replaced by the word that the noise begins nearest to there.

    Args:
        never: [V] bool, what may not stand anywhere.
        seed, lane, step: as `from_noise`.
    """
    refused = never.to(space.words.device) | ~space.words
    words, _ = landed(_noise(canvas, space, seed, lane, step), space, refused)
    return canvas.with_tokens(torch.where(canvas.tokens == mask_id, words.cpu(), canvas.tokens))


def _noise(canvas: Canvas, space: Space, seed: int, lane: int, step: int) -> Tensor:
    drawn = normals(seed, lane, step, "prior", len(canvas), space.embeddings.shape[1])
    return drawn.to(space.embeddings.device)


def _embedded(canvas: Canvas, space: Space) -> Tensor:
    """[L, D] float64, the embeddings of the tokens on a canvas; those of masks are not meant."""
    tokens = canvas.tokens.clamp_max(len(space.embeddings) - 1).to(space.embeddings.device)
    return space.embeddings[tokens].double()
