"""Where a run begins: masks under absorbing noise, random words under uniform noise."""

import torch
from torch import Tensor

from ddemo.sampling.canvas import Canvas
from ddemo.sampling.randomness import uniforms


def from_noise(canvas: Canvas, mask_id: int, words: Tensor, seed: int, lane: int = 0, step: int = 0) -> Canvas:
    """The canvas with each mask replaced by a word drawn uniformly from `words` [V] bool: x_1 of uniform noise.

    Args:
        seed, lane, step: what the draw depends on; `step` is the one after which the masks were put there.
    """
    ids = words.nonzero().squeeze(-1)
    drawn = ids[(uniforms(seed, lane, step, "prior", len(canvas)) * len(ids)).long()]
    return canvas.with_tokens(torch.where(canvas.tokens == mask_id, drawn, canvas.tokens))
