"""Block diffusion: which tokens are filled together, and who may look at whom."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddemo.denoisers.caches import BY_BLOCKS, Caching, Held, Job, Row


class InBlocks(Caching):
    """What denoisers of block diffusion share, before the class of the family that answers by `_answered`.

    A position sees its own block and those before it, so the keys and values of finished blocks change no more: a
    prefix cache is exact. It grows block by block, what stands after a block is never computed, and of what was kept
    as much stays as still is on the canvas.

    Attributes:
        block_length: tokens that are to be filled together, before the next such block.
    """

    caches = BY_BLOCKS

    def __init__(self, *settings, block_length: int, **more):
        super().__init__(*settings, **more)
        self.block_length = block_length

    def _order(self, times: Tensor) -> Tensor:
        return block_order(times[None], self.block_length)[0]

    def _span(self, row: Row) -> tuple[int, int]:
        """Whole blocks of attention, whatever blocks the lane is filled in."""
        inside = row.block.nonzero().squeeze(-1)
        first, last = max(0, int(inside[0]) - self.shifted), int(inside[-1])
        before, after = row.order < row.order[first], row.order <= row.order[last]
        return int(before.sum()), int(after.sum())

    def _begin(self, rows: Sequence[Row]) -> dict[Row, Tensor]:
        """Bring every cache up to the row's block, one block of attention a pass: the same passes for the same text,
        wherever a run was stopped, so that it goes on to the bit."""
        for row in rows:
            kept = row.cache.held or row.cache.earlier
            row.cache.hold(None if kept is None else still_there(kept, row, self._span(row)[0]))
        while waiting := {id(row.cache): row for row in rows if _count(row) < self._span(row)[0]}:
            jobs = [_next_block(row, self._span(row)[0]) for row in waiting.values()]
            for row, job, (_, numbers) in zip(waiting.values(), jobs, self._through(jobs), strict=True):
                more = Held(job.places, job.tokens, job.order, numbers)
                row.cache.hold(more if row.cache.held is None else row.cache.held.and_then(more))
        return {}

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
    block = block_order(times, block_length)
    there = (places < lengths[:, None])[:, None]
    same, before = (block[:, :, None] == block[:, None]) & there, (block[:, :, None] > block[:, None]) & there
    if not beside_clean:
        return (same | before)[:, None]
    noised = torch.cat([same, before], 2)
    given = torch.cat([torch.zeros_like(same), same | before], 2)
    return torch.cat([noised, given], 1)[:, None]


def block_order(times: Tensor, block_length: int) -> Tensor:
    """[B, L] int64: the number of each position's block, ascending; arguments as for `block_attention`."""
    first = (times > 0).int().argmax(1)  # 0 where nothing is noised
    places = torch.arange(times.shape[1])
    return (places - first[:, None] % block_length).div(block_length, rounding_mode="floor")


def still_there(held: Held, row: Row, most: int) -> Held | None:
    """The leading blocks of what is held that stand on the row as they did, of its first `most` positions."""
    count = min(len(held.places), most)
    same = (held.tokens[:count] == row.tokens[:count]) & (held.order[:count] == row.order[:count])
    same &= held.places[:count] == torch.arange(count)
    count = count if bool(same.all()) else int(same.int().argmin())
    while 0 < count < len(row.order) and row.order[count - 1] == row.order[count]:
        count -= 1  # part of a block is none
    return held.first(count) if count else None


def _count(row: Row) -> int:
    return 0 if row.cache.held is None else len(row.cache.held.places)


def _next_block(row: Row, most: int) -> Job:
    """The next block that the row's cache lacks; first of all, everything before the first noised one."""
    begin = _count(row)
    end = row.fixed if begin < row.fixed else begin + int((row.order[begin:] == row.order[begin]).sum())
    places = torch.arange(begin, min(end, most))
    return Job(row.tokens[places], places, row.order[places], row.cache.held, keep=torch.arange(len(places)))
