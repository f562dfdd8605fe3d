"""Transition matrices of small alphabets: what one step of noise does, Q_t, and what many do, Q_bar_t.

Matrices are [..., K, K] float64 in the row convention of D3PM (arXiv 2107.03006): Q[i, j] = q(x_t = j | x_(t-1) = i),
rows sum to one, a law p [K] goes to p @ Q, and Q_bar_t = Q_1 Q_2 ... Q_t. SEDD (arXiv 2310.16834) and
D3PM's code for text have columns: their Q is the transpose, p goes to Q p, and products run from right to left.

The first argument is how much noise, a number or a tensor [...]. For `absorbing`, `uniform` and `hybrid` steps keep
the form: with beta_t it is Q_t, and with 1 - alpha(t) it is Q_bar_t. The others have to be multiplied.
"""

import torch
from torch import Tensor

from ddemo.processes.rates import exponential, neighbour_rates
from ddemo.processes.validation import check_index, check_size


def absorbing(noise: float | Tensor, size: int, mask: int = -1) -> Tensor:
    """(1 - beta) I + beta 1 e_mask^T: with probability beta a token turns into the mask, and stays it.

    Source: D3PM, section 3.1 and appendix A.2.2; `mask` is by default the last symbol.
    """
    return _keep(_probability(noise), _one_hot_column(size, mask))


def uniform(noise: float | Tensor, size: int) -> Tensor:
    """(1 - beta) I + beta 11^T / K: with probability beta a token is drawn anew, perhaps as itself.

    Source: D3PM, appendix A.2.1; multinomial diffusion (arXiv 2102.05379).
    """
    check_size(size)
    return _keep(_probability(noise), torch.full((size, size), 1.0 / size, dtype=torch.float64))


def hybrid(to_mask: float | Tensor, redrawn: float | Tensor, size: int, mask: int = -1) -> Tensor:
    """Mask and uniform: a word turns into the mask, or is drawn anew from the K - 1 words, or stays; a mask stays.

    For many steps see `hybrid_noise`. Source: VQ-Diffusion (arXiv 2111.14822), its mask-and-uniform strategy. D3PM
    (section 4, for BERT) draws anew among all K, the mask included, so that its masks do not stay.

    Raises:
        ValueError: the two probabilities exceed 1 together.
    """
    to_mask, redrawn = torch.broadcast_tensors(_probability(to_mask), _probability(redrawn))
    if (to_mask + redrawn > 1.0 + 1e-12).any():
        raise ValueError(f"to_mask + redrawn must be at most 1, not {(to_mask + redrawn).max().item():.6g}")
    masked = _one_hot_column(size, mask)
    word = 1.0 - masked[0]
    drawn = (word[:, None] * word / (size - 1)).expand(*to_mask.shape, size, size)
    stay = torch.diag(word) * (1.0 - to_mask - redrawn).clamp_min(0.0)[..., None, None]
    to_mask = torch.where(word > 0, to_mask[..., None], 1.0)[..., None]  # [..., K, 1]: the mask stays for certain
    return stay + redrawn[..., None, None] * drawn + to_mask * masked


def hybrid_noise(to_mask: Tensor, redrawn: Tensor) -> tuple[Tensor, Tensor]:
    """What `hybrid` is given for Q_bar_1 .. Q_bar_T [T], from what its single steps were given [T].

    A word is no mask with probability M = (1 - m_1) ... (1 - m_t) and untouched with A = (1 - m_1 - u_1) ..., so that
    it has been redrawn with M - A. Source: VQ-Diffusion (arXiv 2111.14822), cumulative form.
    """
    to_mask, redrawn = torch.broadcast_tensors(_probability(to_mask), _probability(redrawn))
    unmasked = torch.cumsum(torch.log1p(-to_mask), 0)
    untouched = (1.0 - to_mask - redrawn).clamp_min(0.0)
    ratio = torch.cumsum(torch.log1p(redrawn / untouched), 0)  # log(M / A), infinite where A is 0
    share = torch.where(unmasked > -torch.inf, -torch.expm1(-ratio), 0.0)  # of the unmasked, 1 - A / M
    return -torch.expm1(unmasked), unmasked.exp() * share


def half_each(noised: float) -> tuple[float, float]:
    """What `hybrid` is given where masking and redrawing come at the same rate, from 1 - alpha(t).

    Each of the two leaves a token alone with probability a = sqrt(alpha(t)): 1 - a are masks, a (1 - a) are redrawn.
    """
    masked = noised / (1.0 + (1.0 - noised) ** 0.5)  # 1 - a, which keeps its digits where noised is small
    return masked, (1.0 - masked) * masked


def half_each_word(at_hit: Tensor, alpha: float) -> Tensor:
    """Under noise as of `half_each`: how likely a token that was first hit when alpha was `at_hit` is a word still.

    The first hit redraws it with probability 1/2. Then it waits for a mask, which has not come with probability
    sqrt(alpha / at_hit) when alpha(t) = alpha; 1/2 where that hit has yet to come.

    Args:
        at_hit: [...], in (0, 1].
    """
    return 0.5 * (alpha / at_hit).clamp_max(1.0).sqrt()


def gaussian(beta: float | Tensor, size: int) -> Tensor:
    """Discretised Gaussian, for ordered symbols: the nearer, the likelier; doubly stochastic.

    Off the diagonal exp(-4 (i - j)^2 / ((K - 1)^2 beta)), divided by its sum over all offsets -(K - 1) .. K - 1; the
    diagonal is the rest. beta is a width and no probability. Source: D3PM, appendix A.2.3, eq. 8.

    Raises:
        ValueError: beta is negative or no number.
    """
    check_size(size)
    beta = torch.as_tensor(beta, dtype=torch.float64)
    if not (beta.isfinite() & (beta >= 0.0)).all():
        raise ValueError(f"beta must be a number of at least 0, not {beta[~(beta.isfinite() & (beta >= 0.0))][0]}")
    at = torch.arange(size, dtype=torch.float64)
    nearness = torch.exp(-4.0 * (at / (size - 1)) ** 2 / beta[..., None].clamp_min(1e-300))  # [..., K], by distance
    total = nearness[..., 0] + 2.0 * nearness[..., 1:].sum(-1)
    distance = (at[:, None] - at).abs().long()
    matrix = (nearness / total[..., None])[..., distance]
    return _fill_diagonal(matrix)


def nearest_neighbour(noise: float, embeddings: Tensor, neighbours: int) -> Tensor:
    """exp(noise R) of `ddemo.processes.rates.neighbour_rates`: symbols turn into those that lie close by.

    Steps multiply by adding their noise: Q_bar_t has the sum of the steps'. Source: D3PM, appendix A.2.4, eq. 9.
    """
    return exponential(neighbour_rates(embeddings, neighbours), noise)


def _keep(noise: Tensor, target: Tensor) -> Tensor:
    """(1 - noise) I + noise target."""
    noise = noise[..., None, None]
    return (1.0 - noise) * torch.eye(len(target), dtype=torch.float64) + noise * target


def _one_hot_column(size: int, mask: int) -> Tensor:
    """[K, K] with ones in the mask's column; mask -1 is the last symbol."""
    check_size(size)
    mask = size - 1 if mask == -1 else mask
    check_index("mask", mask, size)
    return torch.eye(size, dtype=torch.float64)[mask].expand(size, size)


def _fill_diagonal(matrix: Tensor) -> Tensor:
    """The diagonal set to what the rest of its row leaves of 1."""
    others = matrix * (1.0 - torch.eye(matrix.shape[-1], dtype=torch.float64))
    return others + torch.diag_embed((1.0 - others.sum(-1)).clamp_min(0.0))


def _probability(noise: float | Tensor) -> Tensor:
    noise = torch.as_tensor(noise, dtype=torch.float64)
    bad = ~((noise >= 0.0) & (noise <= 1.0))
    if bad.any():
        raise ValueError(f"noise must be in [0, 1], not {noise[bad][0].item()}")
    return noise
