"""Samplers that fill as many masks at a step as the model is sure enough of; the canvas decides how many steps."""

import torch
from torch import Tensor

from ddemo.sampling.samplers.turn import Move, Turn


def threshold(turn: Turn) -> Move:
    """Fill every mask whose drawn token has at least the threshold's probability, and always the surest one.

    Source: Wu et al. 2025 (Fast-dLLM, arXiv 2505.22618), threshold strategy.
    """
    drafts = turn.draw(turn.every)
    sure = turn.sure(drafts)
    return _prefix(turn, drafts, sure, lambda ordered: ordered >= turn.config.threshold)


def factor(turn: Turn) -> Move:
    """Fill the n surest masks as long as (n + 1) (1 - the n-th probability) <= factor, and always the surest one.

    Source: Wu et al. 2025 (Fast-dLLM, arXiv 2505.22618), factor strategy, after theorem 1. Its published code also
    fills the last rank that fails when it is the last of all; the rule does not.
    """
    drafts = turn.draw(turn.every)

    def close_enough(ordered: Tensor) -> Tensor:
        rank = torch.arange(1, len(ordered) + 1, device=ordered.device)
        return (rank + 1) * (1.0 - ordered) <= turn.config.factor

    return _prefix(turn, drafts, turn.sure(drafts), close_enough)


def entropy_bounded(turn: Turn) -> Move:
    """Fill the masks of lowest entropy as long as what is filled besides the last adds up to at most the bound, nats.

    The bound limits how much the tokens filled together can depend on each other.
    Source: Ben-Hamu et al. 2025 (EB-sampler, arXiv 2505.24857); the default bound is ours.
    """
    drafts = turn.draw(turn.every)
    entropy = turn.belief.entropy.double()
    ranking = turn.put_off_ends(-entropy, drafts)

    def within(ordered: Tensor) -> Tensor:
        h = -ordered.clamp_min(-1e9)
        return h.cumsum(0) - h.cummax(0).values <= turn.config.entropy_bound

    return _prefix(turn, drafts, ranking, within)


def _prefix(turn: Turn, drafts: Tensor, ranking: Tensor, accepts) -> Move:
    """Fill the longest run of best-ranked rows that are all accepted, at least one."""
    order = ranking.argsort(descending=True, stable=True)
    accepted = accepts(ranking[order]).to(torch.int8).cummin(0).values.bool()
    accepted[0] = True
    taken = torch.zeros_like(accepted).scatter(0, order, accepted)
    return Move(torch.where(taken, drafts, turn.standing))
