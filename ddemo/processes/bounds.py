"""The variational bound on -log p(x_0) in nats: term by term in discrete time, and its limit for masks.

The dense form takes any alphabet, so that a text of several positions is one symbol of an alphabet of texts
(`jointly`). For masks, what the bound needs to know of a denoiser is c_n, how surprised it is on average by the
masked tokens of x_0 when n of them are masked: `surprise_by_count`. All else is the schedule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ddemo.processes.chains import products
from ddemo.processes.information import binomial
from ddemo.processes.schedules import Schedule, check_time
from ddemo.processes.validation import check_index, law

LONGEST = 14  # positions whose 2^L masks are enumerated


@dataclass(frozen=True)
class Terms:
    """The summands of the bound, nats: L_T, L_(T-1) .. L_1, and L_0. Source: D3PM (arXiv 2107.03006), eq. 1.

    Attributes:
        prior: KL(q(x_T | x_0) || p(x_T)).
        steps: [T - 1], for k = 2..T the mean over q(x_k | x_0) of KL(q(x_(k-1) | x_k, x_0) || p(x_(k-1) | x_k)).
        reconstruction: the mean over q(x_1 | x_0) of -log p(x_0 | x_1).
    """

    prior: float
    steps: Tensor
    reconstruction: float

    @property
    def total(self) -> float:
        return self.prior + float(self.steps.sum()) + self.reconstruction


def variational_bound(x_0: int, matrices: Tensor, reverse: Tensor, prior: Tensor) -> Terms:
    """D3PM's bound for one x_0.

    Args:
        matrices: [T, K, K], Q_1 .. Q_T.
        reverse: [T, K, K], at k - 1 the model's p(x_(k-1) | x_k), by row x_k; a row that is never met is not read.
        prior: [K], p(x_T).

    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), eq. 1. Infinite where the model excludes what happens.
    """
    size = matrices.shape[-1]
    check_index("x_0", x_0, size)
    if reverse.shape != matrices.shape:
        raise ValueError(f"reverse must be {list(matrices.shape)}, as matrices are, not {list(reverse.shape)}")
    reached = products(matrices)[:, x_0]  # [T + 1, K] q(x_k | x_0)
    # q(x_k, x_(k-1) | x_0), by row x_k: what is divided by q(x_k | x_0) in the posterior is its weight in the mean
    pairs = matrices.mT * reached[:-1, None, :]
    posteriors = pairs / reached[1:, :, None].clamp_min(1e-300)
    divergences = _divergence(pairs, posteriors, reverse).sum((-1, -2))  # [T]
    at_end = reached[-1]
    end = float(_divergence(at_end, at_end, law(prior, size, "prior")).sum())
    return Terms(end, divergences[1:], float(divergences[0]))


def _divergence(weights: Tensor, q: Tensor, p: Tensor) -> Tensor:
    """weights (log q - log p), 0 where the weight is 0."""
    return torch.where(weights > 0.0, weights * (q.clamp_min(1e-300).log() - p.log()), 0.0)


def jointly(matrix: Tensor, length: int) -> Tensor:
    """[K, K] to [K^L, K^L]: each of L positions is noised by itself. Texts are ordered as numbers of base K."""
    whole = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(length):
        whole = torch.kron(whole, matrix.contiguous())
    return whole


# Masks


def surprise_by_count(x_0: Tensor, believe: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """c_0 .. c_L [L + 1]: the sum of -log p(x_0_i | visible tokens) over n masked positions, averaged over where the
    n masks are.

    Args:
        x_0: [L] int64.
        believe: from texts [M, L] and masks [M, L] bool to p(x_0 | visible) [M, L, K], as
            `ddemo.processes.exact.ExactWorld.given` does; a token under a mask must not be read.

    Raises:
        ValueError: L is more than LONGEST, whose 2^L masks are all tried.
    """
    length = len(x_0)
    if not 1 <= length <= LONGEST:
        raise ValueError(f"x_0 must have 1 to {LONGEST} positions, not {length}")
    masks = torch.tensor(list(product((False, True), repeat=length)))[1:]
    texts = x_0.expand(len(masks), -1)
    p = believe(texts, masks).to(torch.float64).gather(2, texts[..., None])[..., 0]
    surprise = torch.where(masks, -p.log(), 0.0).sum(1)
    count = masks.sum(1)
    sums = torch.zeros(length + 1, dtype=torch.float64).index_add_(0, count, surprise)
    return sums / torch.tensor([math.comb(length, n) for n in range(length + 1)], dtype=torch.float64)


def mask_bound(surprise: Tensor) -> float:
    """The bound in continuous time: c_1 / 1 + c_2 / 2 + ... + c_L / L, whatever the schedule.

    It is the integral over t of `mask_integrand`, since every n has the weight C(L, n) B(n, L - n + 1) = 1 / n; and
    the mean over all orders of what writing x_0 token by token costs. Source: MDLM (arXiv 2406.07524), eq. 10, and
    for the orders Ou et al. 2024 (RADD, arXiv 2406.03736).
    """
    return float((surprise[1:] / torch.arange(1, len(surprise), dtype=torch.float64)).sum())


def mask_integrand(surprise: Tensor, schedule: Schedule, t: float) -> float:
    """-alpha'(t) / (1 - alpha(t)) times the mean surprise at t, nats for each unit of time; finite at both ends.

    The weight, which is infinite at t = 0, is divided into the binomial law of the number of masks, which has no mask
    there. Source: MDLM, eq. 10; MD4 (arXiv 2406.04329).

    Raises:
        ValueError: t is not in [0, 1], or the schedule has no derivative.
    """
    check_time(t)
    if schedule.derivative is None:
        raise ValueError(f"the {schedule.name} schedule has no derivative")
    length = len(surprise) - 1
    # C(L, n) u^(n-1) a^(L-n) = (L / n) C(L - 1, n - 1) u^(n-1) a^(L-n): a binomial law of one token less
    others = binomial(length - 1, schedule.noised(t), schedule.alpha(t))
    shares = length / torch.arange(1, length + 1, dtype=torch.float64)
    return float(-schedule.derivative(t) * (others * shares * surprise[1:]).sum())


def mask_terms(surprise: Tensor, noised: Tensor) -> Tensor:
    """The terms k = 1 .. T of the discrete bound for masks [T]; the first is the reconstruction, and with all noised
    at the end there is no other. They sum to `mask_bound` as T grows.

    Args:
        noised: [T + 1], 1 - alpha_0 = 0 rising to 1 - alpha_T.

    Each is (alpha_(k-1) - alpha_k) / (1 - alpha_k) times the mean surprise after k steps. Source: D3PM, appendix A.3;
    MDLM (arXiv 2406.07524), at finite T.

    Raises:
        ValueError: noised does not rise from 0 within [0, 1], or does not rise at the first step.
    """
    if not (noised[0] == 0.0 and noised[1] > 0.0 and (noised.diff() >= 0.0).all() and noised[-1] <= 1.0):
        raise ValueError("noised must be [T + 1] numbers that rise from 0, at the first step too, and not above 1")
    length = len(surprise) - 1
    means = [float(binomial(length, hit, 1.0 - hit) @ surprise) for hit in noised[1:].tolist()]
    return noised.diff() / noised[1:] * torch.tensor(means, dtype=torch.float64)
