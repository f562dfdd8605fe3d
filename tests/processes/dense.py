"""Bayes' rule with dense matrices and no algebra: what the closed forms of the processes are held against.

A matrix [K, K] has q(next = j | now = i) at row i, column j. Everything is float64.
"""

import math

import torch
from torch import Tensor

from ddemo.processes import SCHEDULES

DERIVABLE = [name for name, schedule in SCHEDULES.items() if schedule.derivative]


def absorbing_matrix(alpha: float, size: int) -> Tensor:
    """Stay with probability alpha, else turn into the last of the tokens, the mask."""
    matrix = alpha * torch.eye(size, dtype=torch.float64)
    matrix[:, -1] += 1.0 - alpha
    return matrix


def uniform_matrix(alpha: float, size: int) -> Tensor:
    """Stay with probability alpha, else turn into any token, itself included."""
    return alpha * torch.eye(size, dtype=torch.float64) + (1.0 - alpha) / size


def absorbing_rate(size: int) -> Tensor:
    """The generator [K, K]: the derivative of `absorbing_matrix(e^-sigma)` with respect to sigma at 0."""
    rate = -torch.eye(size, dtype=torch.float64)
    rate[:, -1] += 1.0
    return rate


def uniform_rate(size: int) -> Tensor:
    return 1.0 / size - torch.eye(size, dtype=torch.float64)


def mean_posterior(p: Tensor, seen: int, to_s: Tensor, between: Tensor) -> Tensor:
    """[K] p(x_s | x_t = seen) = sum over x0 of p(x0) q(x_s | x_t = seen, x0), where p(x0) = p(x0 | x_t)."""
    law = torch.zeros_like(p)
    for x0, weight in enumerate(p.tolist()):
        if weight > 0:
            joint = to_s[x0] * between[:, seen]
            law += weight * joint / joint.sum()
    return law


def joint_weighted(belief: Tensor, seen: int, to_s: Tensor, between: Tensor) -> Tensor:
    """[K] p(x_s | x_t = seen) when x0 ~ belief before the token was seen."""
    joint = (belief @ to_s) * between[:, seen]
    return joint / joint.sum()


def posterior(belief: Tensor, seen: int, to_t: Tensor) -> Tensor:
    """[K] p(x0 | x_t = seen) when x0 ~ belief before the token was seen."""
    joint = belief * to_t[:, seen]
    return joint / joint.sum()


def score(p: Tensor, seen: int, to_t: Tensor) -> Tensor:
    """[K] p_t(y) / p_t(seen) = sum over x0 of p(x0 | x_t = seen) q(y | x0) / q(seen | x0)."""
    return sum(weight * to_t[x0] / to_t[x0, seen] for x0, weight in enumerate(p.tolist()) if weight > 0)


def tweedie(scores: Tensor, seen: int, between: Tensor) -> Tensor:
    """[K] the analytic step of SEDD: scores carried back by the inverse of the noise, times the noise to `seen`."""
    return torch.linalg.solve(between.T, scores) * between[:, seen]


def reverse_rate(scores: Tensor, seen: int, rate: Tensor) -> Tensor:
    """[K] s(y) times the forward rate from y to `seen`; 0 at `seen`."""
    rates = scores * rate[:, seen]
    rates[seen] = 0.0
    return rates


def euler(rates: Tensor, seen: int, stride: float) -> Tensor:
    """[K] one Euler step; what would be less than 0 is cut off, and the rest normalised."""
    law = stride * rates
    law[seen] = max(0.0, 1.0 - law.sum().item())
    return law / law.sum()


def one_poisson_jump(rates: Tensor, seen: int, stride: float) -> Tensor:
    """[K] independent Poisson counts for every target, of which the sum has to be exactly 1."""
    law, expected = torch.zeros_like(rates), (stride * rates).tolist()
    for target, mean in enumerate(expected):
        others = math.prod(math.exp(-other) for i, other in enumerate(expected) if i != target)
        law[target] = mean * math.exp(-mean) * others
    law[seen] = 1.0 - law.sum() + law[seen]
    return law


def first_jump(rates: Tensor, seen: int, stride: float) -> Tensor:
    """[K] the target of the first of competing exponential clocks, if one rings within the stride."""
    total = rates.sum().item()
    law = torch.zeros_like(rates)
    if total > 0:
        law = (1.0 - math.exp(-stride * total)) * rates / total
    law[seen] = math.exp(-stride * total)
    return law


def random_laws(count: int, size: int, seed: int = 0) -> Tensor:
    """[count, size] laws, the first of them even, one-hot and with zeros in it."""
    laws = torch.rand(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    laws[0] = 1.0
    laws[1] = torch.eye(size, dtype=torch.float64)[1]
    laws[2, ::2] = 0.0
    return laws / laws.sum(-1, keepdim=True)
