"""Samplers that fill a set number of masks at each step, and choose which."""

import math

import torch
from torch import Tensor

from ddemo.sampling.samplers.turn import Move, Turn

# The share of n masks that stays masked when the share r of the steps is done, as MaskGIT's published code has them.
MASK_SCHEDULES = {
    "cosine": lambda r, n: math.cos(math.pi / 2 * r),
    "uniform": lambda r, n: 1.0 - r,
    "pow2": lambda r, n: 1.0 - r**2,
    "pow3": lambda r, n: 1.0 - r**3,
    "pow0.5": lambda r, n: 1.0 - math.sqrt(r),
    "log": lambda r, n: -math.log2(r) / math.log2(n) if n > 1 else 0.0,
    "exp": lambda r, n: 1.0 - 2.0 ** (-math.log2(n) * (1.0 - r)),
}


def quota(turn: Turn) -> int:
    """How many masks this step fills when they are shared out evenly over the block's steps.

    The first steps take what is left over. Source: LLaDA (arXiv 2502.09992), per row rather than per batch.
    """
    each, left_over = divmod(turn.size, turn.steps)
    return each + (turn.index < left_over)


def confidence(turn: Turn) -> Move:
    """Draw a token for every mask, then keep the ones that the model gave the highest probability.

    What is kept stays: the published name "low-confidence remasking" means the draws that were not kept.
    Confidence is read before temperature, top-k and top-p.
    Source: Nie et al. 2025 (LLaDA, arXiv 2502.09992), low-confidence remasking.
    """
    drafts = turn.draw(turn.every)
    return Move(turn.keep_best(turn.sure(drafts), drafts, quota(turn)))


def random_order(turn: Turn) -> Move:
    """Fill masks in a random order, the same number at each step.

    Source: Nie et al. 2025 (LLaDA, arXiv 2502.09992), random remasking; any-order autoregression at one a step.
    """
    first = turn.uniform("select").argsort(descending=True, stable=True)[: quota(turn)]
    return Move(turn.filled(first.sort().values))


def left_to_right(turn: Turn) -> Move:
    """Fill the leftmost masks, the same number at each step.

    Source: the order of autoregressive models, as a baseline in Ye et al. 2025 (Dream, arXiv 2508.15487).
    """
    return Move(turn.filled(torch.arange(quota(turn))))


def maskgit(turn: Turn) -> Move:
    """Draw every mask, and keep masked the least confident, fewer at each step after a schedule.

    Confidence is log p of the drawn token plus Gumbel noise that is annealed away: order_temperature * (1 - r), with
    r the share of steps done. As many stay masked as the schedule of r says, at least one fewer than before.
    Source: Chang et al. 2022 (MaskGIT, arXiv 2202.04200), algorithm and defaults of its published code.
    """
    r = (turn.index + 1) / turn.steps
    masks = int(turn.masked.sum())
    share = min(1.0, max(0.0, MASK_SCHEDULES[turn.config.mask_schedule](r, turn.size)))
    stay = math.floor(turn.size * share)
    stay = 0 if turn.last else max(1, min(masks - 1, stay))
    drafts = turn.draw(turn.every)
    noise = turn.config.order_temperature * (1.0 - r) * turn.gumbel("order")
    ranking = turn.belief.probability(drafts, turn.every).double().log().cpu() + noise
    ranking = turn.put_off_ends(ranking.to(drafts.device), drafts)
    return Move(turn.keep_best(ranking, drafts, masks - stay))


def dream_quota(turn: Turn) -> int:
    """int(M (1 - s / t)) of the M masks left; the last step takes all. Source: Dream, per row."""
    masks = int(turn.masked.sum())
    return masks if turn.last else int(masks * (1.0 - turn.s / turn.t))


def dream_maskgit_plus(turn: Turn) -> Move:
    """Draw every mask and keep those with the highest probability.

    Source: Ye et al. 2025 (Dream, arXiv 2508.15487), `alg="maskgit_plus"`. Read before temperature, top-k and top-p,
    where the published code reads them after.
    """
    drafts = turn.draw(turn.every)
    return _dream(turn, drafts, turn.belief.probability(drafts, turn.every))


def dream_margin(turn: Turn) -> Move:
    """Draw every mask and keep those where the likeliest token leads the second by most.

    Source: Ye et al. 2025 (Dream, arXiv 2508.15487), `alg="topk_margin"`; Kim et al. 2025 (arXiv 2502.06768).
    """
    _, best = turn.belief.top(2)
    return _dream(turn, turn.draw(turn.every), best[:, 0] - best[:, -1])


def dream_entropy(turn: Turn) -> Move:
    """Draw every mask and keep those of the lowest entropy.

    Source: Ye et al. 2025 (Dream, arXiv 2508.15487), `alg="entropy"`.
    """
    return _dream(turn, turn.draw(turn.every), -turn.belief.entropy)


def _dream(turn: Turn, drafts: Tensor, score: Tensor) -> Move:
    """Keep dream_quota drafts: the best, or with an order temperature some of the better.

    Drawing without replacement from softmax(score / order_temperature) is taking the best of score /
    order_temperature + Gumbel noise (Kool et al. 2019, arXiv 1903.06059).
    """
    ranking = turn.put_off_ends(score, drafts)
    if turn.config.order_temperature > 0:
        noisy = ranking.double().cpu() / turn.config.order_temperature + turn.gumbel("order")
        ranking = noisy.to(drafts.device)
    return Move(turn.keep_best(ranking, drafts, dream_quota(turn)))


def path_planning(turn: Turn) -> Move:
    """Draw a token everywhere, then mask the worst of all, so that tokens written before can go again.

    A position's score is the log-probability of its draft, at tokens that stand as well; there it is multiplied by
    eta: with 0 they are never masked, with 1 they compete as equals, above 1 they are more readily given up. As many
    stay masked as are left at the step's end in an even pace from the beginning; tokens that stand and are not masked
    stay as they are.
    Source: Peng et al. 2025 (P2, arXiv 2502.03540), self-planning, with the identity schedule and eta on the log of
    the score of standing tokens, as its published code has it.
    """
    drafts = turn.draw(turn.every)
    standing = ~turn.masked.to(drafts.device)
    tokens = torch.where(standing, turn.standing, drafts)
    score = turn.belief.probability(drafts, turn.every).double().log()
    if turn.config.planner == "random":
        score = turn.uniform("order").log().to(drafts.device)
    score = torch.where(standing, _scaled(score, turn.config.eta), turn.put_off_ends(score, drafts))
    masks = math.floor(turn.size * turn.share * (1.0 - (turn.index + 1) / turn.steps) + 1e-9)
    worst = score.argsort(stable=True)[:masks]
    return Move(tokens.index_fill(0, worst, turn.mask_id))


def _scaled(score: Tensor, eta: float) -> Tensor:
    """eta * score; with 0, where the product ties with masks that the model is certain of, better than any mask."""
    return torch.full_like(score, torch.inf) if eta == 0 else eta * score
