"""Block diffusion: which tokens are filled together, and who may look at whom."""

import torch
from torch import Tensor


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
