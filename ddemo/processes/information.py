"""What noise has left of a text: how many tokens it has hit, and how much x_t still tells about x_0, in nats."""

import math

import torch
from torch import Tensor

from ddemo.processes.schedules import Schedule, check_time
from ddemo.processes.transitions import half_each
from ddemo.processes.validation import law as checked_law


def noised_counts(schedule: Schedule, t: float, length: int) -> Tensor:
    """The law [L + 1] of how many of L tokens noise has hit by time t: binomial, of probability 1 - alpha(t).

    Under absorbing noise that is the number of masks, with mean L (1 - alpha(t)).
    """
    check_time(t)
    return binomial(length, schedule.noised(t), schedule.alpha(t))


def binomial(length: int, hit: float, missed: float) -> Tensor:
    """[L + 1] the law of the number of hits, given both probabilities so that neither end loses digits."""
    if length < 0:
        raise ValueError(f"length must not be negative, and is {length}")
    ways = torch.tensor([math.log(math.comb(length, n)) for n in range(length + 1)], dtype=torch.float64)
    count = torch.arange(length + 1, dtype=torch.float64)
    hit, missed = (torch.tensor(x, dtype=torch.float64) for x in (hit, missed))
    return torch.exp(ways + torch.xlogy(count, hit) + torch.xlogy(length - count, missed))


def expected_masks(schedule: Schedule, t: float, length: int) -> float:
    """How many of L tokens are masks at t on average: L (1 - alpha(t))."""
    return length * schedule.noised(t)


def expected_changes(schedule: Schedule, t: float, length: int, size: int) -> float:
    """How many of L tokens are another word at t on average under uniform noise over K: a draw may hit the same."""
    return length * schedule.noised(t) * (1.0 - 1.0 / size)


def expected_hybrid(schedule: Schedule, t: float, length: int, size: int) -> tuple[float, float]:
    """How many of L tokens are masks at t, and how many another of K words, under `transitions.half_each`."""
    to_mask, redrawn = half_each(schedule.noised(t))
    return length * to_mask, length * redrawn * (1.0 - 1.0 / size)


def entropy(law: Tensor) -> Tensor:
    """Nats of laws [..., K]: [...]."""
    return -torch.xlogy(law, law).sum(-1) + 0.0  # no entropy is 0, and not -0


def mutual_information(initial: Tensor, transition: Tensor) -> float:
    """I(x_t; x_0) = H(x_t) - H(x_t | x_0) in nats, for the law of x_0 [K] and q(x_t | x_0) [K, K].

    It is summed as the mean divergence of q(x_t | x_0) from q(x_t), for the difference of entropies loses all digits
    when little is left to tell. Source: Shannon 1948; in D3PM (arXiv 2107.03006), section 3.2, it sets the schedule.
    """
    initial = checked_law(initial, len(transition), "initial")
    return float((initial[:, None] * _divergences(transition, (initial @ transition)[None])).sum())


def _divergences(q: Tensor, here: Tensor) -> Tensor:
    """q log(q / here) - q + here: never negative, and where both sum to 1 the sum is the divergence in nats."""
    excess = (q - here) / here.clamp_min(1e-300)
    near = q * (torch.log1p(excess) - excess / (1.0 + excess))
    far = torch.xlogy(q, q / here.clamp_min(1e-300)) - q + here
    return torch.where(excess.abs() < 0.5, near, far)


def absorbing_information(initial: Tensor, alpha: float) -> float:
    """I(x_t; x_0) = alpha H(x_0): a mask tells nothing, a token everything. Linear alpha, linear information."""
    return alpha * float(entropy(checked_law(initial)))


def uniform_information(initial: Tensor, alpha: float) -> float:
    """I(x_t; x_0) under uniform noise over the K words of `initial` [K], in O(K)."""
    initial = checked_law(initial)
    low = torch.tensor((1.0 - alpha) / len(initial), dtype=torch.float64)
    high = alpha + low
    here = alpha * initial + low  # q(x_t)
    return float((initial * _divergences(high, here) + (1.0 - initial) * _divergences(low, here)).sum())
