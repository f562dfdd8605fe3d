"""Score entropy: how far scores are from the true ratios, and the bound on -log p(x_0) that it makes.

Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), section 3: score entropy (eq. 5), its denoising form (eq. 7), and
the bound on the likelihood (eq. 9).
"""

import torch
from torch import Tensor

from ddemo.processes.validation import check_index


def score_entropy(scores: Tensor, ratios: Tensor, weights: Tensor) -> Tensor:
    """Sum over y of w(y) [s(y) - r(y) log s(y) + r(y) (log r(y) - 1)], [...]: never negative, 0 only for s = r.

    Args:
        scores: [..., K], what a model says of p_t(y) / p_t(x_t).
        ratios: [..., K], what is true of it; r = 0 leaves s(y).
        weights: [..., K] of at least 0, and 0 at y = x_t; where it is 0 nothing else is read.

    Source: SEDD, definition 3.1, eq. 5. It is the Bregman divergence of r log r.
    """
    excess = scores - ratios
    near = excess - ratios * torch.log1p(excess / ratios)  # keeps the digits of a score close to its ratio
    far = excess - torch.xlogy(ratios, scores / ratios)
    divergence = torch.where(excess.abs() < 0.5 * ratios, near, far)
    divergence = torch.where(ratios > 0.0, divergence, scores)
    return torch.where(weights > 0.0, weights * divergence, 0.0).sum(-1)


def integrand(x_0: int, scores: Tensor, to_t: Tensor, rates: Tensor, beta: float = 1.0) -> float:
    """The bound's integrand at t for one x_0, nats for each unit of time: the mean over q(x_t | x_0) of the score
    entropy against the ratios q(y | x_0) / q(x_t | x_0), weighted with the rates beta R(y, x_t).

    Integrated over time and with KL(q(x_1 | x_0) || p(x_1)) added, it bounds -log p(x_0). With true scores it is
    minus the time derivative of KL(q(x_t | x_0) || p_t).

    Args:
        scores: [K, K], s(y) at x_t by row x_t; a row that is never met is not read.
        to_t: [K, K], q(x_t | x_0).
        rates: [K, K], forwards, in rows.

    Source: SEDD, theorem 3.6, eq. 9 and 10, the diffusion-weighted denoising score entropy, whose Q_t(x_t, y) is
    R(y, x_t) here.
    """
    check_index("x_0", x_0, len(to_t))
    here = to_t[x_0]
    met = here > 0.0
    ratios = here / here[met][:, None]
    weights = beta * here[met][:, None] * (rates - torch.diag(rates.diagonal())).mT[met]
    return float(score_entropy(scores[met], ratios, weights).sum())


def absorbing(scores: Tensor, standing: Tensor, clean: Tensor, noised: float, kept: float, mask_id: int) -> Tensor:
    """The score entropy of positions under absorbing noise [N]; only masks have any. No V x V matrix.

    Times sigma'(t) it is the bound's integrand: sum over y of s(y) - k log s(x_0) + k (log k - 1), with
    k = alpha / (1 - alpha) = 1 / (e^sigma - 1). Source: SEDD's code (arXiv 2310.16834), its absorbing graph.

    Args:
        scores: [N, V].
        standing, clean: [N] int64, x_t and x_0.
        noised, kept: 1 - alpha(t) and alpha(t), the first above 0.
    """
    if not (0.0 < noised <= 1.0 and 0.0 <= kept <= 1.0):
        raise ValueError(f"noised must be in (0, 1] and kept in [0, 1], not {noised} and {kept}")
    ratios = torch.zeros_like(scores).scatter_(1, clean[:, None], kept / noised)
    weights = (standing == mask_id).to(scores)[:, None].repeat(1, scores.shape[1])
    weights[:, mask_id] = 0.0
    return score_entropy(scores, ratios, weights)


def uniform(scores: Tensor, standing: Tensor, clean: Tensor, noised: float, kept: float) -> Tensor:
    """The score entropy of positions under uniform noise over all K columns [N]. No K x K matrix.

    Times sigma'(t) it is the bound's integrand: the mean over the K words, but for the one that stands, against
    r(y) = q(y | x_0) / q(x_t | x_0). Source: SEDD's code (arXiv 2310.16834), its uniform graph.

    Args:
        scores: [N, K].
        standing, clean: [N] int64, x_t and x_0.
        noised, kept: 1 - alpha(t) and alpha(t), the first above 0.
    """
    if not (0.0 < noised <= 1.0 and 0.0 <= kept <= 1.0):
        raise ValueError(f"noised must be in (0, 1] and kept in [0, 1], not {noised} and {kept}")
    size = scores.shape[1]
    marginal = torch.full_like(scores, noised / size).scatter_add_(
        1, clean[:, None], torch.full_like(scores[:, :1], kept)
    )
    weights = torch.full_like(scores, 1.0 / size).scatter_(1, standing[:, None], 0.0)
    return score_entropy(scores, marginal / marginal.gather(1, standing[:, None]), weights)
