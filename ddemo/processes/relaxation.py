"""Argmax as the limit of a softmax: its temperature goes to 0, and its gradient with it.

A softmax in place of a draw or an argmax lets a gradient through (the concrete or Gumbel-softmax relaxation: Maddison
et al. 2017, arXiv 1611.00712; Jang et al. 2017, arXiv 1611.01144). Its Jacobian at temperature T is
(diag(p) - p p^T) / T. At high T it is small because p hardly moves, at low T because p is nearly one-hot, so that the
gradient vanishes at both ends; where two logits are equal it grows as 1 / T instead.
"""

import torch
from torch import Tensor


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / T) [..., K] float64; at T = 0 the argmax, shared by equals.

    Raises:
        ValueError: the temperature is negative or no number, or a logit is none.
    """
    if not 0.0 <= temperature < torch.inf:
        raise ValueError(f"temperature must be a number of at least 0, not {temperature}")
    logits = logits.to(torch.float64)
    if logits.isnan().any() or (logits == torch.inf).any():
        raise ValueError("logits must be numbers, or minus infinity")
    below = logits - logits.amax(-1, keepdim=True)
    if temperature == 0.0:
        best = (below == 0.0).to(torch.float64)
        return best / best.sum(-1, keepdim=True)
    return torch.softmax(below / temperature, -1)


def jacobian(logits: Tensor, temperature: float) -> Tensor:
    """d tempered_i / d logit_j = (p_i [i = j] - p_i p_j) / T, [K, K] for logits [K]; symmetric, rows sum to zero.

    Raises:
        ValueError: the temperature is not positive.
    """
    _check_positive(temperature)
    p = tempered(logits, temperature)
    others = -p[:, None] * p
    others.fill_diagonal_(0.0)
    return (others - torch.diag(others.sum(-1))) / temperature


def jacobian_norm(logits: Tensor, temperature: float) -> Tensor:
    """The Frobenius norm of `jacobian` [...] for logits [..., K], in O(K log K) and with no subtraction.

    Its square is [sum_i p_i^2 (1 - p_i)^2 + sum_(i != j) p_i^2 p_j^2] / T^2. Written out, both sums are differences
    of ones when p is nearly one-hot, just where the norm is interesting; here each is summed from the smallest.

    Raises:
        ValueError: the temperature is not positive.
    """
    _check_positive(temperature)
    p = tempered(logits, temperature).sort(-1).values
    nothing = torch.zeros_like(p[..., :1])
    smaller = torch.cat([nothing, p.cumsum(-1)[..., :-1]], -1)
    larger = torch.cat([p.flip(-1).cumsum(-1).flip(-1)[..., 1:], nothing], -1)
    squares = (p * (smaller + larger)).square().sum(-1)
    before = p.square().cumsum(-1)[..., :-1]
    pairs = 2.0 * (p[..., 1:].square() * before).sum(-1)
    return (squares + pairs).sqrt() / temperature


def concrete(logits: Tensor, temperature: float, uniforms: Tensor) -> Tensor:
    """Draws of the concrete (Gumbel-softmax) distribution [N, K]: softmax((logits + g) / T), g = -log(-log u).

    At every T the place of the largest entry has the law softmax(logits), for that is a draw by Gumbel's noise; only
    at T = 0 is the rest of a draw zero. Source: Maddison et al. 2017; Jang et al. 2017.

    Args:
        logits: [K].
        uniforms: [N, K] float64 in [0, 1).
    """
    noise = -(-uniforms.clamp_min(1e-300).log()).log()
    return tempered(logits.to(torch.float64) + noise, temperature)


def shifted(base: Tensor, shift: Tensor) -> Tensor:
    """The law [K] of (x + k) mod K for x of the law `base` [K] and an independent k of the law `shift` [K].

    A discrete flow shifts by one k, the argmax of its logits, so that `shift` is one-hot; a softmax in its place
    mixes all shifts. Source: Tran et al. 2019 (discrete flows, arXiv 1905.10347), the location part of its transform.
    """
    if base.shape != shift.shape or base.dim() != 1:
        raise ValueError(f"base and shift must be laws of the same K, not {list(base.shape)} and {list(shift.shape)}")
    places = torch.arange(len(base))
    return shift.to(torch.float64) @ base.to(torch.float64)[(places - places[:, None]) % len(base)]


def _check_positive(temperature: float) -> None:
    if not 0.0 < temperature < torch.inf:
        raise ValueError(f"temperature must be a positive number, not {temperature}")
