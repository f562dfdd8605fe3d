"""Bayes' rule for any transition matrices: q(x_s | x_t, x_0), and p(x_s | x_t) from a belief about x_0.

`to_s` is q(x_s | x_0) and `between` is q(x_t | x_s), both [K, K] float64 in rows, for times s < t. Dense, for small
alphabets; for a vocabulary `ddemo.processes.absorbing` and `.uniform` have the same laws with no matrix at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddemo.processes.validation import check_index, law


@dataclass(frozen=True)
class Bayes:
    """q(x_s | x_t, x_0) and the numbers that it is made of.

    Attributes:
        likelihood: [K] q(x_t | x_s), by x_s.
        prior: [K] q(x_s | x_0).
        product: [K] of the two.
        normaliser: its sum, q(x_t | x_0).
        law: [K] product / normaliser.
    """

    likelihood: Tensor
    prior: Tensor
    product: Tensor
    normaliser: float
    law: Tensor


def bayes(x_t: int, x_0: int, to_s: Tensor, between: Tensor) -> Bayes:
    """q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0). Source: D3PM (arXiv 2107.03006), eq. 3.

    Raises:
        ValueError: x_0 cannot turn into x_t.
    """
    check_index("x_t", x_t, len(to_s))
    check_index("x_0", x_0, len(to_s))
    likelihood, prior = between[:, x_t], to_s[x_0]
    product = likelihood * prior
    normaliser = product.sum().item()
    if not normaliser > 0.0:
        raise ValueError(f"x_0 = {x_0} must be able to turn into x_t = {x_t}, and cannot")
    return Bayes(likelihood, prior, product, normaliser, product / normaliser)


def mean_posterior(p: Tensor, x_t: Tensor, to_s: Tensor, between: Tensor) -> Tensor:
    """p(x_s | x_t) = sum over x_0 of p(x_0 | x_t) q(x_s | x_t, x_0) [N, K].

    Args:
        p: [N, K], what is believed of x_0 after x_t has been seen.
        x_t: [N] int64.

    Source: D3PM (arXiv 2107.03006), section 3, the marginal over x_0; exact for the true p(x_0 | x_t).

    Raises:
        ValueError: p holds for possible an x_0 that cannot turn into x_t.
    """
    p = law(p, len(to_s), "p")
    reached = (to_s @ between)[:, x_t].mT  # [N, K] q(x_t | x_0), by x_0
    if ((p > 0.0) & (reached <= 0.0)).any():
        row, x_0 = ((p > 0.0) & (reached <= 0.0)).nonzero()[0].tolist()
        raise ValueError(f"p must be 0 at x_0 = {x_0}, which cannot turn into x_t = {int(x_t[row])}")
    weights = torch.where(p > 0.0, p / reached, 0.0)
    return _normalised(between[:, x_t].mT * (weights @ to_s), x_t)


def joint_weighted(p: Tensor, x_t: Tensor, to_s: Tensor, between: Tensor) -> Tensor:
    """p(x_s | x_t) ~ q(x_t | x_s) sum over x_0 of q(x_s | x_0) p(x_0) [N, K]: D3PM (arXiv 2107.03006), eq. 4.

    Exact for what is believed of x_0 before the position's own x_t is seen; see `ddemo.processes.uniform`.

    Raises:
        ValueError: x_t is impossible under p.
    """
    return _normalised(between[:, x_t].mT * (law(p, len(to_s), "p") @ to_s), x_t)


def plug_in(p: Tensor, x_t: Tensor, to_s: Tensor, between: Tensor) -> Tensor:
    """q(x_s | x_t, x_0 = argmax p) [N, K]: the belief's likeliest x_0 taken for certain, and nothing else changed.

    Raises:
        ValueError: that x_0 cannot turn into x_t.
    """
    return mean_posterior(one_hot_argmax(p), x_t, to_s, between)


def one_hot_argmax(p: Tensor) -> Tensor:
    """[..., K] all probability on the likeliest symbol, the first of equals: a belief that the closed forms take."""
    return torch.zeros_like(p).scatter_(-1, p.argmax(-1, keepdim=True), 1.0)


def posterior(initial: Tensor, to_t: Tensor) -> Tensor:
    """p(x_0 | x_t) [K, K], by row x_t, for the law of x_0 [K]; a row of zeros for an x_t that never occurs."""
    joint = (law(initial, len(to_t), "initial")[:, None] * to_t).mT
    return joint / joint.sum(-1, keepdim=True).clamp_min(1e-300)


def _normalised(product: Tensor, x_t: Tensor) -> Tensor:
    total = product.sum(-1, keepdim=True)
    if (total <= 0.0).any():
        raise ValueError(f"x_t = {int(x_t[int(total.argmin())])} must be possible under p, and is not")
    return product / total
