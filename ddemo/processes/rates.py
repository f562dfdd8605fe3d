"""Continuous time, forwards: rate matrices, and the Kolmogorov equation dp/dt = beta(t) p R that they drive.

R [K, K] float64 has the rate from i to j at row i, column j, and rows that sum to zero; laws are rows. Rates do not
change with time but for the common factor beta(t) = sigma'(t), so that P(t) = exp(sigma(t) R).
Source: Campbell et al. 2022 (tau-LDR, arXiv 2205.14987), section 3; SEDD (arXiv 2310.16834), eq. 1, in columns.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ddemo.processes.validation import check_index, check_size

MOST_JUMPS = 20  # of mean 1, more come with a probability of 1e-20


def absorbing_rates(size: int, mask: int = -1) -> Tensor:
    """1 e_mask^T - I: every word turns into the mask at rate 1, and P(t) is `transitions.absorbing(1 - alpha(t))`."""
    check_size(size)
    mask = size - 1 if mask == -1 else mask
    check_index("mask", mask, size)
    rates = -torch.eye(size, dtype=torch.float64)
    rates[:, mask] += 1.0
    return rates


def uniform_rates(size: int) -> Tensor:
    """11^T / K - I: redrawn at rate 1, and P(t) is `transitions.uniform(1 - alpha(t))`.

    SEDD's paper has K times these rates, its code has these.
    """
    check_size(size)
    return 1.0 / size - torch.eye(size, dtype=torch.float64)


def hybrid_rates(to_mask: float, redrawn: float, size: int, mask: int = -1) -> Tensor:
    """Words turn into the mask at one rate and are redrawn among the K - 1 words at another; a mask stays.

    P(t) is `transitions.hybrid` with 1 - e^(-sigma to_mask) and e^(-sigma to_mask) (1 - e^(-sigma redrawn)).
    """
    if not (0.0 <= to_mask < math.inf and 0.0 <= redrawn < math.inf):
        raise ValueError(f"rates must be numbers of at least 0, not {to_mask} and {redrawn}")
    masking = absorbing_rates(size, mask)
    word = 1.0 - (masking.diagonal() == 0.0).to(torch.float64)
    redraw = word[:, None] * word / (size - 1) - torch.diag(word)
    return to_mask * masking + redrawn * redraw


def neighbour_rates(embeddings: Tensor, neighbours: int) -> Tensor:
    """From the graph G of each symbol's k nearest others: (G + G^T) / (2 k) off the diagonal; symmetric.

    Symmetric rates make the noise doubly stochastic, so that it ends uniform wherever the graph is connected.
    Source: D3PM (arXiv 2107.03006), appendix A.2.4, eq. 9. Equal distances go to the earlier symbol.

    Args:
        embeddings: [K, D].
        neighbours: k, 1 to K - 1.

    Raises:
        ValueError: embeddings are no such matrix of numbers, or k is out of range.
    """
    if embeddings.dim() != 2 or not embeddings.isfinite().all():
        raise ValueError(f"embeddings must be [K, D] numbers, not {list(embeddings.shape)}")
    size = len(embeddings)
    check_size(size)
    if not 1 <= neighbours < size:
        raise ValueError(f"neighbours must be 1 to {size - 1}, not {neighbours}")
    points = embeddings.to(torch.float64)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = distances.argsort(dim=-1, stable=True)[:, :neighbours]
    graph = torch.zeros(size, size, dtype=torch.float64).scatter_(1, nearest, 1.0)
    return with_diagonal((graph + graph.T) / (2 * neighbours))


def rates_of(matrix: Tensor) -> Tensor:
    """Q - I: the rates of the process that makes the steps Q at the times of a Poisson process of rate 1."""
    return with_diagonal(matrix * (1.0 - torch.eye(len(matrix), dtype=torch.float64)))


def with_diagonal(others: Tensor) -> Tensor:
    """Rates whose rows sum to zero, from those off the diagonal."""
    return others - torch.diag(others.sum(-1))


def exponential(rates: Tensor, sigma: float) -> Tensor:
    """P = exp(sigma R) [K, K], q(x_t = j | x_s = i) when sigma of noise lies between s and t.

    By uniformization (Jensen 1953): with J = I + R / r, r the largest exit rate, it is the sum over n of
    Poisson(n; sigma r) J^n, n jumps. Nothing is subtracted, so that small probabilities keep their digits and none
    is negative; torch's matrix_exp is off by 1e-11 near the identity. For much noise it is squared from less.

    Raises:
        ValueError: sigma is negative, infinite or no number.
    """
    if not 0.0 <= sigma < math.inf:
        raise ValueError(f"sigma must be a number of at least 0, not {sigma}")
    identity = torch.eye(len(rates), dtype=rates.dtype)
    largest = rates.diagonal().abs().max().item()
    squarings = max(0, math.ceil(math.log2(sigma * largest))) if sigma * largest > 1.0 else 0
    mean = sigma * largest / 2**squarings  # of the number of jumps, at most 1
    jump = identity + rates / largest if largest else identity
    after, matrix = math.exp(-mean) * identity, torch.zeros_like(rates)
    for count in range(1, MOST_JUMPS + 2):
        matrix = matrix + after
        after = mean / count * (after @ jump)
    for _ in range(squarings):
        matrix = matrix @ matrix
        matrix = matrix / matrix.sum(-1, keepdim=True)
    return matrix / matrix.sum(-1, keepdim=True)


def discrete_steps(rates: Tensor, sigma: float, steps: int) -> Tensor:
    """(I + sigma R / N)^N: N steps of equal noise in place of `exponential`, to which it tends as N grows.

    With too few steps, sigma / N times the largest exit rate above 1, it holds numbers that are no probabilities;
    they are left as they are.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    return torch.linalg.matrix_power(torch.eye(len(rates), dtype=torch.float64) + sigma / steps * rates, steps)


def forward(law: Tensor, rates: Tensor, beta: float = 1.0) -> Tensor:
    """dp/dt = beta p R [..., K]: the Kolmogorov forward (master) equation."""
    return beta * (law @ rates)


def flows(law: Tensor, rates: Tensor, beta: float = 1.0) -> Tensor:
    """Probability that moves from i to j per unit of time, p_i beta R_ij [K, K]; 0 on the diagonal.

    What arrives less what leaves is `forward`.
    """
    return beta * law[:, None] * (rates - torch.diag(rates.diagonal()))


def solve(
    law: Tensor, rates: Tensor, beta: Callable[[float], float], times: Sequence[float], substeps: int = 16
) -> Tensor:
    """p(t) at every one of the times [len(times), K], from `law` at the first, by the classical Runge-Kutta method.

    Nothing is known here of closed forms: it is what they are compared with. The error is of fourth order in the
    distance of times over `substeps`.

    Raises:
        ValueError: times fall, or beta is infinite or no number at one of them, as where a schedule ends at alpha 0.
    """
    laws = [law.to(torch.float64)]
    for start, end in pairwise(times):
        if not end >= start:
            raise ValueError(f"times must rise, and {end} comes after {start}")
        p, h = laws[-1], (end - start) / substeps
        for k in range(substeps):
            p = _runge_kutta(p, rates, beta, start + k * h, h)
        laws.append(p)
    return torch.stack(laws)


def _runge_kutta(p: Tensor, rates: Tensor, beta: Callable[[float], float], t: float, h: float) -> Tensor:
    first, middle, last = (beta(time) for time in (t, t + h / 2, t + h))
    if not all(map(math.isfinite, (first, middle, last))):
        raise ValueError(f"beta must be finite from {t} to {t + h}: stop before the time at which nothing survives")
    k1 = forward(p, rates, first)
    k2 = forward(p + h / 2 * k1, rates, middle)
    k3 = forward(p + h / 2 * k2, rates, middle)
    k4 = forward(p + h * k3, rates, last)
    return p + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
