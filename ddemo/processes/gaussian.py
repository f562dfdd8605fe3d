"""Gaussian noise on embeddings: every token is a point of R^D, and noise moves it until nothing is left of it.

q(x_t | x_0) = N(sqrt(alpha) x_0, (1 - alpha) I), where x_0 is the token's embedding and alpha = alpha_bar(t), the
share of the variance that is signal. Embeddings are scaled to norm sqrt(D), so that x_t has unit variance in each
coordinate at all times. Source: Li et al. 2022 (Diffusion-LM, arXiv 2205.14217), on Ho et al. 2020 (DDPM, arXiv
2006.11239) and Song et al. 2021 (DDIM, arXiv 2010.02502).

Functions keep the type of the tensors that they are given; alpha is a number or a tensor that broadcasts with them.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

SHIFT = 1e-4  # how late the published schedule starts: at t = 0 a latent has noise of standard deviation 0.1

Value = TypeVar("Value", float, Tensor)


def alpha_bar(t: Value) -> Value:
    """The square-root schedule 1 - sqrt((t + s) / (1 + s)), s = 0.0001: from 0.99 at t = 0 down to 0 at t = 1.

    Source: Diffusion-LM, appendix A: 1 - sqrt(t + s). Its argument is divided by 1 + s here, which changes it by
    at most s / 2 and lets it end at 0 exactly, where the published code clips.
    """
    return 1.0 - ((t + SHIFT) / (1.0 + SHIFT)) ** 0.5


def time_at(alpha: Value) -> Value:
    """The t in [0, 1] at which alpha_bar(t) = alpha, in [0, 1]; 0 for more signal than there ever is."""
    t = (1.0 - alpha) ** 2 * (1.0 + SHIFT) - SHIFT
    return t.clamp_min(0.0) if isinstance(t, Tensor) else max(0.0, t)


def snr(alpha: Value) -> Value:
    """The signal-to-noise ratio alpha / (1 - alpha)."""
    return alpha / (1.0 - alpha)


def noised(clean: Tensor, alpha: float | Tensor, noise: Tensor) -> Tensor:
    """A draw of q(x_t | x_0) from standard normal noise."""
    signal, spread = _roots(alpha)
    return signal * clean + spread * noise


def posterior(latents: Tensor, clean: Tensor, alpha_t: float, alpha_s: float) -> tuple[Tensor, float]:
    """Mean and variance of q(x_s | x_t, x_0), s < t, a normal law with that variance in every coordinate.

    Source: Ho et al. 2020 (DDPM), eq. 6 and 7, for two times that need not be neighbours.

    Raises:
        ValueError: unless 0 <= alpha_t < alpha_s <= 1.
    """
    _check(alpha_t, alpha_s)
    kept = alpha_t / alpha_s
    to_clean = math.sqrt(alpha_s) * (1.0 - kept) / (1.0 - alpha_t)
    to_here = math.sqrt(kept) * (1.0 - alpha_s) / (1.0 - alpha_t)
    return to_clean * clean + to_here * latents, (1.0 - kept) * (1.0 - alpha_s) / (1.0 - alpha_t)


def step(
    latents: Tensor, clean: Tensor, alpha_t: float, alpha_s: float, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """x_s from x_t and what is believed of x_0.

    eta = 0 is DDIM, which draws nothing: the noise that x_t must hold if x_0 is as believed is kept and turned down.
    eta = 1 is DDPM: a draw of `posterior`. In between, sigma is eta times that law's standard deviation.

    Args:
        latents, clean: [..., D], x_t and the estimate of x_0.
        noise: [..., D] standard normal; None where eta is 0.

    Source: Song et al. 2021 (DDIM), eq. 12 and 16.

    Raises:
        ValueError: unless 0 <= alpha_t < alpha_s <= 1 and eta is in [0, 1]; or noise is missing.
    """
    _check(alpha_t, alpha_s)
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be in [0, 1], not {eta}")
    if eta > 0.0 and noise is None:
        raise ValueError(f"noise must be given for eta {eta}: only eta 0 draws none")
    # The noise that is in x_t if x_0 is as believed.
    direction = (latents - math.sqrt(alpha_t) * clean) / math.sqrt(1.0 - alpha_t)
    sigma = eta * math.sqrt((1.0 - alpha_s) / (1.0 - alpha_t) * (1.0 - alpha_t / alpha_s))
    earlier = math.sqrt(alpha_s) * clean + math.sqrt(max(0.0, 1.0 - alpha_s - sigma**2)) * direction
    return earlier if sigma == 0.0 else earlier + sigma * noise


def evidence(latents: Tensor, alpha: float | Tensor, embeddings: Tensor) -> Tensor:
    """log q(x_t | w) of every word w, up to a constant of each row: what a latent says by itself.

    p(w_i | x_t) ~ exp(evidence_i(w)) p(w_i | x_t without position i), so that added to the belief which has not
    seen the position's own latent it gives the one that has.

    Args:
        latents: [..., D] x_t.
        alpha: signal share of all, or [...].
        embeddings: [V, D].

    Returns:
        [..., V].
    """
    if isinstance(alpha, Tensor):
        alpha = alpha[..., None]
    signal, _ = _roots(alpha)
    return (signal * (latents @ embeddings.T) - 0.5 * alpha * embeddings.square().sum(-1)) / (1.0 - alpha)


def expected(p: Tensor, embeddings: Tensor) -> Tensor:
    """The estimate of x_0 [..., D]: the mean of the embeddings under p [..., V].

    It has the least squared error, so that learning p by cross-entropy is learning x_0 (score interpolation:
    Dieleman et al. 2022, CDCD, arXiv 2211.15089, section 3).
    """
    return p @ embeddings


def stretch_nats(clean: Tensor, estimate: Tensor, alpha_t: float, alpha_s: float) -> Tensor:
    """KL of q(x_s | x_t, x_0) from the same law with the estimate in place of x_0, nats [...].

    1/2 (SNR(s) - SNR(t)) ||x_0 - estimate||^2. Source: Kingma et al. 2021 (VDM, arXiv 2107.00630), eq. 14.

    Raises:
        ValueError: unless 0 <= alpha_t < alpha_s < 1.
    """
    _check(alpha_t, alpha_s)
    if alpha_s == 1.0:
        raise ValueError("alpha_s must be less than 1: at a noiseless time the ratio of signal to noise is infinite")
    return 0.5 * (snr(alpha_s) - snr(alpha_t)) * (clean - estimate).square().sum(-1)


def bound_rate(clean: Tensor, estimate: Tensor, alpha: float | Tensor) -> Tensor:
    """`stretch_nats` for each unit of alpha as the stretch goes to 0, [...].

    ||x_0 - estimate||^2 / (2 (1 - alpha)^2). Integrated over alpha from 0 to alpha_bar(0) it is the diffusion
    part of the bound in continuous time.
    """
    return 0.5 * (clean - estimate).square().sum(-1) / (1.0 - alpha) ** 2


def prior_nats(clean: Tensor, alpha: float) -> Tensor:
    """KL of q(x_1 | x_0) from N(0, I), nats [...], where alpha = alpha_bar(1): 0 for the schedule above."""
    spread = clean.shape[-1] * (alpha + math.log1p(-alpha))
    return 0.5 * (alpha * clean.square().sum(-1) - spread)


def nearest(points: Tensor, embeddings: Tensor, refused: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The closest embedding of each point [..., D]: its row [...] int64, and the two smallest distances [..., 2].

    The first distance tells how far a point is from any word, the gap to the second how clear the choice is: both
    are exact in the type of `points`, while the search is in that of `embeddings`. Clamping to it is the trick of
    Diffusion-LM, section 4.3.

    Args:
        refused: [V] or [..., V] bool, rows that are not meant, such as those that are no words; a distance to one is
            infinite.
    """
    closeness = torch.matmul(points.to(embeddings.dtype), embeddings.T) - 0.5 * embeddings.square().sum(-1)
    if refused is not None:
        closeness = closeness.masked_fill_(refused, -torch.inf)
    near = closeness.topk(min(2, len(embeddings)))
    distances = (points[..., None, :] - embeddings.to(points.dtype)[near.indices]).norm(dim=-1)
    return near.indices[..., 0], distances.masked_fill(near.values == -torch.inf, torch.inf)


def principal_axes(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Directions of most variance of points [n, D], widest first: [D, count] orthonormal, and the spread along each.

    The spread [count] is the standard deviation. A direction's sign is set so that its largest entry is positive.

    Raises:
        ValueError: count is not 1 to min(n, D).
    """
    if not 1 <= count <= min(points.shape):
        raise ValueError(f"count must be 1 to {min(points.shape)}, not {count}")
    centred = points.double() - points.double().mean(0)
    _, values, rows = torch.linalg.svd(centred, full_matrices=False)
    axes = rows[:count].T
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return (axes * largest.sign()).to(points.dtype), (values[:count] / len(points) ** 0.5).to(points.dtype)


def on_sphere(points: Tensor, count: int) -> Tensor:
    """Points [n, D'] as embeddings [n, count]: their main directions, each made equally wide, every row of norm
    sqrt(count).

    Widening matters: left as they are, a few directions would say most, and common words would be told apart at
    noise under which others are long lost.
    """
    axes, spread = principal_axes(points, count)
    widened = (points - points.mean(0)) @ axes / spread
    return widened / widened.norm(dim=-1, keepdim=True) * math.sqrt(count)


@dataclass(frozen=True)
class Space:
    """Where the words of a vocabulary are among the latents.

    Attributes:
        embeddings: [V, D] float32.
        words: [V] bool, which rows are words; the others are at no place.
        axes: [D, 2] float32, orthonormal: the plane in which the words lie widest, to look at latents in.
    """

    embeddings: Tensor
    words: Tensor
    axes: Tensor

    @classmethod
    def of(cls, embeddings: Tensor, words: Tensor) -> "Space":
        """The space of embeddings [V, D] of which `words` [V] are words."""
        points = embeddings.detach().float()
        axes, _ = principal_axes(points[words], min(2, *points[words].shape))
        return cls(points, words, torch.nn.functional.pad(axes, (0, 2 - axes.shape[1])))

    def seen(self, points: Tensor) -> Tensor:
        """Points [..., D] in the plane, [..., 2]."""
        return points @ self.axes.to(points.dtype)


def _roots(alpha: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    """sqrt(alpha) and sqrt(1 - alpha)."""
    return alpha**0.5, (1.0 - alpha) ** 0.5


def _check(alpha_t: float, alpha_s: float) -> None:
    if not 0.0 <= alpha_t < alpha_s <= 1.0:
        raise ValueError(f"needs 0 <= alpha_t < alpha_s <= 1, got {alpha_t} and {alpha_s}")
