"""Continuous time, backwards: concrete scores, the reverse rates that they give, and one step taken with them.

The score of x_t is s(y) = p_t(y) / p_t(x_t) [K], 1 at y = x_t. The reverse process goes from x_t to y at the rate
beta(t) R(y, x_t) s(y), R the forward rates in rows (`ddemo.processes.rates`); in the columns of SEDD (arXiv
2310.16834), eq. 3, the same is Q_t(x_t, y) s(y).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddemo.processes.validation import check_index, law


def concrete_scores(marginal: Tensor, x_t: int) -> Tensor:
    """p_t(y) / p_t(x_t) for every y [K]. Source: Meng et al. 2022 (arXiv 2211.00802); SEDD, section 3.

    Raises:
        ValueError: x_t never occurs.
    """
    marginal = law(marginal, name="marginal")
    check_index("x_t", x_t, len(marginal))
    if marginal[x_t] <= 0.0:
        raise ValueError(f"x_t = {x_t} must be able to occur: a ratio to probability 0 is none")
    return marginal / marginal[x_t]


def scores_from(p: Tensor, x_t: int, to_t: Tensor) -> Tensor:
    """The same from what a denoiser says: s(y) = sum over x_0 of p(x_0 | x_t) q(y | x_0) / q(x_t | x_0) [K].

    It is `concrete_scores` for every y that can turn into x_t, and no other has a reverse rate. Where a y comes from
    an x_0 that x_t cannot come from, as one word from another's under absorbing noise, p(x_0 | x_t) says nothing of
    that y and its ratio is too small. Source: SEDD, section 3, by Bayes' rule; for masks it is p(y) alpha /
    (1 - alpha), RADD (arXiv 2406.03736), theorem 1.

    Raises:
        ValueError: p holds for possible an x_0 that cannot turn into x_t.
    """
    p = law(p, len(to_t), "p")
    check_index("x_t", x_t, len(p))
    here = to_t[:, x_t]
    if ((p > 0.0) & (here <= 0.0)).any():
        x_0 = int(((p > 0.0) & (here <= 0.0)).nonzero()[0])
        raise ValueError(f"p must be 0 at x_0 = {x_0}, which cannot turn into x_t = {x_t}")
    return torch.where(p > 0.0, p / here, 0.0) @ to_t


def reverse_rates(scores: Tensor, x_t: int, rates: Tensor, beta: float = 1.0) -> Tensor:
    """Row x_t of the reverse rates [K]: beta R(y, x_t) s(y), and at y = x_t minus the sum of the others.

    Source: SEDD, eq. 3; Campbell et al. 2022 (arXiv 2205.14987), proposition 1, where s comes from p(x_0 | x_t).

    Raises:
        ValueError: beta or a score is negative or no number.
    """
    if not (0.0 <= beta < torch.inf and scores.isfinite().all() and (scores >= 0.0).all()):
        raise ValueError(f"scores and beta must be numbers of at least 0, not {scores.min().item()} and {beta}")
    out = beta * rates[:, x_t] * scores
    out[x_t] = 0.0
    out[x_t] = -out.sum()
    return out


def reverse_rate_matrix(marginal: Tensor, rates: Tensor, beta: float = 1.0) -> Tensor:
    """All rows of the reverse rates [K, K] for a known marginal p_t [K]; zeros for an x_t that never occurs."""
    rows = [
        reverse_rates(concrete_scores(marginal, x), x, rates, beta) if marginal[x] > 0.0 else torch.zeros(len(rates))
        for x in range(len(rates))
    ]
    return torch.stack([row.to(torch.float64) for row in rows])


@dataclass(frozen=True)
class Step:
    """What a step from one state would draw from, whether or not it can be drawn from.

    Attributes:
        entries: [K], which sum to one; probabilities only if none is negative.
        negative: [K] bool, the entries that are no probabilities.
        excess: minus the sum of those; 0 for a law.
    """

    entries: Tensor

    @property
    def negative(self) -> Tensor:
        return self.entries < 0.0

    @property
    def excess(self) -> float:
        return float(-self.entries.clamp_max(0.0).sum())

    @property
    def is_law(self) -> bool:
        return not bool(self.negative.any())

    def clipped(self) -> Tensor:
        """[K] with negative entries cut off and the rest scaled to one: what an implementation then draws from."""
        kept = self.entries.clamp_min(0.0)
        return kept / kept.sum()


def euler_step(reverse: Tensor, x_t: int, dt: float) -> Step:
    """delta(x_t, y) + dt reverse(y): one Euler step of the reverse process.

    A law as long as dt is at most `longest_step`; beyond it the entry of x_t itself is negative, and that is left
    to be seen. Source: SEDD (arXiv 2310.16834), eq. 17.

    Args:
        reverse: [K], row x_t of the reverse rates.

    Raises:
        ValueError: dt is negative or no number.
    """
    if not 0.0 <= dt < torch.inf:
        raise ValueError(f"dt must be a number of at least 0, not {dt}")
    entries = dt * reverse
    entries[x_t] += 1.0
    return Step(entries)


def longest_step(reverse: Tensor, x_t: int) -> float:
    """The dt at which an Euler step leaves x_t for certain: 1 / the rate of leaving, infinite where that is 0."""
    leaving = -float(reverse[x_t])
    return 1.0 / leaving if leaving > 0.0 else float("inf")


def tweedie_step(scores: Tensor, x_t: int, between: Tensor) -> Step:
    """(s P^-1)(y) P(y, x_t), P = q(x_t | x_s): the analytic step, which no dt breaks where the scores are true.

    With scores that are not, entries can be negative. Source: SEDD (arXiv 2310.16834), theorem 4.2 and eq. 19.

    Raises:
        ValueError: the noise from s to t cannot be undone, because nothing survives it.
    """
    earlier, failed = torch.linalg.solve_ex(between.mT, scores)
    if int(failed) or not earlier.isfinite().all():
        raise ValueError("between must be a matrix that can be inverted: nothing survives from s to t")
    return Step(earlier * between[:, x_t])
