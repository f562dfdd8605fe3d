"""What the denoiser believes at the masked positions, and how a token is taken from it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ddemo.sampling.config import SamplerConfig

BLOCK = 128
RULED_OUT = -1e4  # a shifted logit whose exponential is 0, in float64 and at any temperature too
COLDEST = torch.finfo(torch.float32).tiny  # dividing by less would make 0 / 0 of the likeliest token


class Belief:
    """p(x0 | x_t) at M positions over V tokens.

    Everything reported from here (entropy, candidates, probabilities) is read before temperature, top-k
    and top-p: those shape the draw, not what the model believed.

    Args:
        positions: [M] int64 canvas positions, ascending.
        logits: [M, V] float32; -inf for tokens that may not stand there. Not changed.
    """

    def __init__(self, positions: Tensor, logits: Tensor):
        self.positions = positions
        self.logits = logits

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def device(self) -> torch.device:
        return self.logits.device

    @cached_property
    def _weights(self) -> Tensor:
        """[M, V] p(x0 | x_t)."""
        return torch.softmax(self.logits, -1)

    @cached_property
    def _shifted(self) -> Tensor:
        """[M, V] logits minus their row's greatest; finite, since 0 * -inf is not a number."""
        return (self.logits - self.logits.amax(-1, keepdim=True)).clamp_min_(RULED_OUT)

    @cached_property
    def entropy(self) -> Tensor:
        """[M] in nats: log Z - sum_v p(v) l(v), for logits l with row maximum 0, whose log Z is -log max p."""
        log_z = -self._weights.amax(-1).log()
        return (log_z - torch.linalg.vecdot(self._weights, self._shifted)).clamp_min(0.0)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """Ids and probabilities [M, k] of the likeliest tokens, likeliest first.

        The k likeliest tokens stand in the k blocks whose maxima are the greatest, so only those are searched.
        """
        blocks = in_blocks(self._weights, padding=-1.0)
        best = blocks.amax(-1).topk(min(k, blocks.shape[1])).indices
        found = blocks.gather(1, best[..., None].expand(-1, -1, BLOCK)).flatten(1)
        weights, places = found.topk(min(k, self.logits.shape[-1]))
        return best.gather(1, places // BLOCK) * BLOCK + places % BLOCK, weights

    @property
    def likeliest(self) -> Tensor:
        """[M] the token of the highest probability."""
        return self._weights.argmax(-1)

    def probability(self, ids: Tensor, rows: Tensor) -> Tensor:
        """p(ids[i]) [R] at row rows[i]; rows ascend."""
        if len(rows) == len(self):
            return self._weights.gather(-1, ids[:, None])[:, 0]
        return self._weights[rows, ids]

    def draw(self, uniform: Tensor, config: SamplerConfig, rows: Tensor) -> Tensor:
        """A token [R] for each of `rows` [R], which ascend.

        Args:
            uniform: [R] float64 in [0, 1), one number for each row.
            config: draw, temperature, top_k, top_p.
        """
        if config.greedy:
            return self.likeliest if len(rows) == len(self) else self._weights[rows].argmax(-1)
        return inverse_cdf(self._tempered(config, rows), uniform).to(self.device)

    def shaped(self, config: SamplerConfig | None = None) -> Tensor:
        """[M, V] float64 probabilities as a draw takes them: after temperature, top-k, top-p, or all at the argmax.

        Without a config they are p(x0 | x_t) itself.
        """
        every = torch.arange(len(self), device=self.device)
        if config is not None and config.greedy:
            return torch.zeros_like(self._weights).scatter(-1, self.likeliest[:, None], 1.0).double()
        weights = (self._weights if config is None else self._tempered(config, every)).double()
        return weights / weights.sum(-1, keepdim=True)

    def mean(self, values: Tensor, config: SamplerConfig) -> Tensor:
        """[M, D] float64: the mean of `values` [V, D] under p as a draw takes it (see `shaped`)."""
        if config.greedy:
            return values[self.likeliest].double()
        weights = self._tempered(config, torch.arange(len(self), device=self.device)).to(values.dtype)
        return (weights @ values).double() / weights.sum(-1, keepdim=True).double()

    def _of(self, table: Tensor, rows: Tensor) -> Tensor:
        """The given rows of an [M, V] table, which is not copied when all are meant."""
        return table if len(rows) == len(self) else table[rows]

    def _tempered(self, config: SamplerConfig, rows: Tensor) -> Tensor:
        """[R, V] weights after temperature, then top-k, then top-p."""
        if config.temperature == 1.0:
            weights = self._of(self._weights, rows)
        else:
            weights = torch.softmax(self._of(self._shifted, rows) / max(config.temperature, COLDEST), -1)
        if 0 < config.top_k < weights.shape[-1]:
            kept = torch.topk(weights, config.top_k, dim=-1)  # exactly k, however many are tied
            weights = torch.zeros_like(weights).scatter(-1, kept.indices, kept.values)
        if config.top_p < 1.0:
            weights = _nucleus(weights, config.top_p)
        return weights


def in_blocks(weights: Tensor, padding: float = 0.0) -> Tensor:
    """[M, V] as [M, V / BLOCK, BLOCK], the last block padded; a view where the vocabulary is whole blocks."""
    missing = -weights.shape[-1] % BLOCK
    if missing:
        weights = torch.nn.functional.pad(weights, (0, missing), value=padding)
    return weights.unflatten(-1, (weights.shape[-1] // BLOCK, BLOCK))


def inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """The token [R] at which each row's cumulative weight passes `uniform` [R] of its total.

    One uniform number a row is exact, where float32 Gumbel noise over the vocabulary is not (arXiv 2409.02908),
    and much cheaper. Sums run over blocks first, in float64 across them, so that only one block is scanned.

    Args:
        weights: [R, V] float32, non-negative, each row with something above zero.
        uniform: [R] float64 in [0, 1).
    """
    blocks = in_blocks(weights)
    up_to = blocks.sum(-1).to(torch.float64).cumsum(-1)  # [R, V / BLOCK]
    target = uniform.to(weights.device)[:, None] * up_to[:, -1:]
    block = torch.searchsorted(up_to, target, right=True).clamp_max(up_to.shape[-1] - 1)
    before = torch.where(block > 0, up_to.gather(-1, (block - 1).clamp_min(0)), 0.0)
    inside = blocks[torch.arange(len(weights), device=weights.device), block[:, 0]].to(torch.float64)
    offset = torch.searchsorted(inside.cumsum(-1), target - before, right=True)
    # Rounding may leave the target past the block's end: then its last token with any weight is meant.
    last = BLOCK - 1 - (inside > 0).flip(-1).to(torch.int8).argmax(-1, keepdim=True)
    return (block * BLOCK + torch.minimum(offset, last))[:, 0]


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """Keep the likeliest tokens up to and including the one that reaches `top_p` (Holtzman et al. 2020)."""
    ordered, ids = weights.sort(dim=-1, descending=True)
    reached = ordered.cumsum(-1, dtype=torch.float64)
    beyond = (reached - ordered) >= top_p * reached[:, -1:]
    return weights.masked_fill(torch.zeros_like(beyond).scatter(-1, ids, beyond), 0.0)
