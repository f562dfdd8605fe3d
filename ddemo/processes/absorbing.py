"""Absorbing noise: a token turns into the mask and stays there.

Every reverse step over it has one form. A mask is revealed with some probability, and its token is then drawn from
p(x0 | x_t); a token is masked again with some other probability, which is 0 for most samplers. The functions here
give those two probabilities; the times are t before the step and s < t after it.
"""

import math

import torch
from torch import Tensor


def stay_masked(alpha_t: float, alpha_s: float) -> float:
    """q(x_s = mask | x_t = mask) for s < t: (1 - alpha_s) / (1 - alpha_t).

    The rest, (alpha_s - alpha_t) / (1 - alpha_t), is the probability that the token was still there at s.
    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), absorbing case; Sahoo et al. 2024 (MDLM), eq. 6.

    Raises:
        ValueError: unless 0 <= alpha_t <= alpha_s <= 1 and alpha_t < 1.
    """
    if not (0.0 <= alpha_t <= alpha_s <= 1.0 and alpha_t < 1.0):
        raise ValueError(f"needs 0 <= alpha_t <= alpha_s <= 1 and alpha_t < 1, got {alpha_t} and {alpha_s}")
    return (1.0 - alpha_s) / (1.0 - alpha_t)


def mean_posterior(p: Tensor, standing: Tensor, stay: float, mask_id: int) -> Tensor:
    """p(x_s | x_t) [N, V]: a mask stays with probability `stay`, else its token is drawn from p; a token stays.

    For a one-hot p it is q(x_s | x_t, x_0), where x_0 can turn into x_t. Weighted with the joint (D3PM, eq. 4) it is
    the same law, since a mask tells nothing of x_0. Source: MDLM (arXiv 2406.07524), eq. 6 and 7.

    Args:
        p: [N, V] float64, each row sums to 1; the mask's own entry is 0.
        standing: [N] int64, x_t.
        stay: `stay_masked`, or `Schedule.stay`, which is as exact near t = 0 as anywhere.

    Raises:
        ValueError: stay is not in [0, 1], or p expects a mask.
    """
    if not 0.0 <= stay <= 1.0:
        raise ValueError(f"stay must be in [0, 1], not {stay}")
    if (p[:, mask_id] != 0.0).any():
        raise ValueError(f"p must be 0 at the mask, not {p[:, mask_id].abs().max().item()}: no text has one")
    here = torch.zeros_like(p).scatter_(1, standing[:, None], 1.0)
    return torch.where((standing == mask_id)[:, None], stay * here + (1.0 - stay) * p, here)


def score_scale(alpha: float) -> float:
    """What p(x0 = y | x_t) is multiplied with to give the score p_t(y) / p_t(mask) at a mask: alpha / (1 - alpha).

    With sigma = -log alpha this is 1 / (e^sigma - 1). Source: Lou et al. 2024 (SEDD, arXiv 2310.16834); Ou et al.
    2024 (arXiv 2406.03736).
    """
    return alpha / (1.0 - alpha)


def euler_reveal(scores: float, sigma_rate: float, stride: float) -> float:
    """One Euler step of the reverse rate: stride * sigma'(t) * (sum of the scores), at most 1.

    Args:
        scores: sum over y of p_t(y) / p_t(mask).
        sigma_rate: sigma'(t) = -alpha'(t) / alpha(t).
        stride: t - s.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), eq. 17. On the linear schedule it is the ancestral step.
    """
    return min(1.0, stride * sigma_rate * scores)


def analytic_reveal(scores: float, alpha_t: float, alpha_s: float) -> float:
    """The analytic (Tweedie) step from scores: (e^D - 1) * (sum of the scores), with e^D = alpha_s / alpha_t.

    Equal to 1 - `stay_masked` when the scores are those of p(x0 | x_t). Source: SEDD, eq. 19.
    """
    return min(1.0, (alpha_s / alpha_t - 1.0) * scores)


def one_jump(expected: float) -> float:
    """P(exactly one event) of a Poisson count: what a tau-leap of categorical data accepts.

    Source: Campbell et al. 2022 (tau-LDR, arXiv 2205.14987): more than one jump of a position means nothing when
    the values have no order, so such leaps are rejected.
    """
    return expected * math.exp(-expected)


def any_jump(expected: float) -> float:
    """P(at least one event) of a Poisson count: 1 - e^-expected, the jump of a flow-matching step."""
    return -math.expm1(-expected)


def most_remasking(alpha_t: float, alpha_s: float) -> float:
    """The greatest probability with which a token may be masked again: min(1, (1 - alpha_s) / alpha_t).

    Above it the marginals q(x_s) could not be kept. Source: Wang et al. 2025 (ReMDM, arXiv 2503.00307).
    """
    return min(1.0, (1.0 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


def remasking_reveal(alpha_t: float, alpha_s: float, remask: float) -> float:
    """How likely a mask is revealed when tokens are masked again with probability `remask`.

    (alpha_s - (1 - remask) alpha_t) / (1 - alpha_t), so that the share of masks stays the schedule's; with
    remask = 0 it is the ancestral step. Source: Wang et al. 2025 (ReMDM, arXiv 2503.00307).
    A mask that should not be there, because all tokens have survived at t, is revealed.
    """
    if alpha_t == 1.0:
        return 1.0
    return min(1.0, max(0.0, (alpha_s - (1.0 - remask) * alpha_t) / (1.0 - alpha_t)))
