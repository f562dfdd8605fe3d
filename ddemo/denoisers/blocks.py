"""Block diffusion: which tokens are filled together, and who may look at whom."""

import torch
from torch import Tensor


class InBlocks:
    """What denoisers of block diffusion share, before the class of the family that answers by `_answered`.

    Attributes:
        block_length: tokens that are to be filled together, before the next such block.
    """

    def __init__(self, *settings, block_length: int, **more):
        super().__init__(*settings, **more)
        self.block_length = block_length

    @torch.inference_mode()
    def beside_clean(self, tokens: Tensor, clean: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Logits [N, V] as `__call__`, but each block is given the clean text [B, L] of those before it.

        With that, one pass gives the terms of all blocks of the likelihood bound: x_t and the clean text stand one
        after the other, each position of the text twice.
        """
        return self._answered(tokens, clean, times, lengths, wanted)


def block_attention(times: Tensor, lengths: Tensor, block_length: int, beside_clean: bool = False) -> Tensor:
    """Whether a position may look at another: at its own block and those before it, never at padding.

    Blocks are counted from the first noised position, so that a prompt may have any length.

    Args:
        times: [B, L], 0 where a token is known to be clean.
        lengths: [B], tokens in each row that are not padding.
        block_length: tokens in a block.
        beside_clean: whether the clean text stands after the noised one, each position twice. A noised position
            then sees its own block as it is noised, and earlier blocks as they are clean.

    Returns:
        [B, 1, L, L] bool, or [B, 1, 2L, 2L] beside the clean text.

    Source: Arriola et al. 2025 (BD3-LM, arXiv 2503.09573), section 3.2.
    """
    places = torch.arange(times.shape[1])
    first = (times > 0).int().argmax(1)  # 0 where nothing is noised
    block = (places - first[:, None] % block_length).div(block_length, rounding_mode="floor")  # [B, L]
    there = (places < lengths[:, None])[:, None]
    same, before = (block[:, :, None] == block[:, None]) & there, (block[:, :, None] > block[:, None]) & there
    if not beside_clean:
        return (same | before)[:, None]
    noised = torch.cat([same, before], 2)
    given = torch.cat([torch.zeros_like(same), same | before], 2)
    return torch.cat([noised, given], 1)[:, None]
