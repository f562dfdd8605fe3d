"""The law that a sampler reaches on a small exact world, computed and not sampled: every canvas, every probability.

A step is made of independent choices at the positions, so that from each canvas the next one's law is a product. The
mass of all (K + 1)^L canvases (K words and the mask, which is number K) is carried from step to step. What a sampler
does wrong is then seen to the last digit: commits in parallel, or argmax in place of a draw.
"""

import torch
from torch import Tensor

from ddemo.processes import uniform
from ddemo.processes.chains import total_variation
from ddemo.processes.exact import ExactWorld, outer
from ddemo.processes.posteriors import one_hot_argmax
from ddemo.processes.schedules import Schedule

MOST_CANVASES = 20_000
DRAWS = ("categorical", "argmax")


def ancestral(world: ExactWorld, schedule: Schedule, steps: int, draw: str = "categorical") -> Tensor:
    """The ancestral sampler of masks at N steps of equal time [K] * L: each mask by itself stays or is revealed.

    The last step reveals all. Argmax as the draw makes of it the plug-in posterior of a one-hot x_0. Source: D3PM
    (arXiv 2107.03006), absorbing case; MDLM (arXiv 2406.07524), eq. 6 and 7.
    """
    _check_positive("steps", steps)
    walk = _Walk(world, draw)
    for k in range(steps, 0, -1):
        stay = schedule.stay(k / steps, (k - 1) / steps) if k > 1 else 0.0
        walk.step(torch.full(walk.masked.shape, 1.0 - stay, dtype=torch.float64))
    return walk.law()


def first_hitting(world: ExactWorld, draw: str = "categorical") -> Tensor:
    """One mask at a time [K] * L, each of those left equally likely the next: exact, where the draw is.

    Source: Zheng et al. 2024 (arXiv 2409.02908), first-hitting sampler.
    """
    walk = _Walk(world, draw)
    share = walk.masked.double() / walk.masked.sum(1, keepdim=True).clamp_min(1)  # [S, L]
    for _ in range(world.length):
        before, after = walk.mass, torch.zeros_like(walk.mass)
        for position in range(world.length):
            walk.mass = before * share[:, position]
            walk.step(torch.eye(world.length, dtype=torch.float64)[position].expand(walk.masked.shape))
            after += walk.mass
        walk.mass = after
    return walk.law()


def top_k(world: ExactWorld, count: int, draw: str = "categorical") -> Tensor:
    """The `count` masks whose likeliest word is likeliest are committed at once [K] * L; equals from the left.

    Source: the confidence order of MaskGIT (arXiv 2202.04200) and LLaDA (arXiv 2502.09992), with an even quota. With
    all L at once and argmax it is also the literal argmax of p(x_s | x_t), which waits for the last step.
    """
    _check_positive("count", count)
    walk = _Walk(world, draw)
    confidence = torch.where(walk.masked, walk.confidence, -1.0)
    rank = confidence.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    for _ in range(-(-world.length // count)):
        walk.step((rank < count).to(torch.float64))
    return walk.law()


def uniform_ancestral(world: ExactWorld, schedule: Schedule, steps: int) -> Tensor:
    """The ancestral sampler of uniform noise at N steps [K] * L, each position drawn from the mean posterior.

    Source: D3PM (arXiv 2107.03006), uniform case; UDLM (arXiv 2412.10193).
    """
    _check_positive("steps", steps)
    size, length = world.size, world.length
    texts = _canvases(world, size)
    words = torch.ones(size, dtype=torch.bool)
    mass = torch.full((len(texts),), 1.0 / len(texts), dtype=torch.float64)
    for k in range(steps, 0, -1):
        alpha_t, alpha_s = schedule.alpha(k / steps), schedule.alpha((k - 1) / steps) if k > 1 else 1.0
        p = world.given_uniform(texts, alpha_t).reshape(-1, size)
        laws = uniform.mean_posterior(p, texts.reshape(-1), alpha_t, alpha_s, words)
        mass = _next(mass, laws.reshape(len(texts), length, size))
    return mass.reshape(world.joint.shape)


def distance(world: ExactWorld, law: Tensor) -> float:
    """Total variation of a law [K] * L from the world's: 0 for a sampler that reaches the truth."""
    return float(total_variation(law.flatten(), world.joint.flatten()))


class _Walk:
    """The mass of all canvases, which begins at all masks, and what the world believes of each.

    Attributes:
        mass: [S], S = (K + 1)^L.
        masked: [S, L] bool.
        p: [S, L, K], what a token is drawn from.
        confidence: [S, L], the probability of the likeliest word.
    """

    def __init__(self, world: ExactWorld, draw: str):
        if draw not in DRAWS:
            raise ValueError(f"draw must be one of {', '.join(DRAWS)}, not {draw!r}")
        self.world = world
        self.canvases = _canvases(world, world.size + 1)
        self.masked = self.canvases == world.size
        p = world.given(self.canvases, self.masked)
        self.confidence = p.amax(-1)
        self.p = one_hot_argmax(p) if draw == "argmax" else p
        self.mass = torch.zeros(len(self.canvases), dtype=torch.float64)
        self.mass[-1] = 1.0  # the last canvas is all masks

    def step(self, reveal: Tensor) -> None:
        """Every mask turns into a token with probability reveal [S, L], each by itself."""
        reveal = torch.where(self.masked, reveal, 1.0)[..., None]
        # what is known is drawn from a p that is certain of it
        self.mass = _next(self.mass, torch.cat([reveal * self.p, 1.0 - reveal], -1))

    def law(self) -> Tensor:
        """[K] * L, once no mask is left."""
        size, length = self.world.size, self.world.length
        return self.mass.reshape((size + 1,) * length)[(slice(size),) * length].clone()


def _canvases(world: ExactWorld, symbols: int) -> Tensor:
    """[S, L] int64: the numbers of base `symbols`, as the cells of a joint are ordered."""
    if symbols**world.length > MOST_CANVASES:
        raise ValueError(f"world must have at most {MOST_CANVASES:,} canvases, not {symbols}^{world.length}")
    if not (world.joint > 0.0).all():
        raise ValueError("world must hold every text for possible: a sampler can write any, and has to go on from it")
    return torch.cartesian_prod(*[torch.arange(symbols)] * world.length).reshape(-1, world.length)


def _next(mass: Tensor, laws: Tensor) -> Tensor:
    """[S] after a step whose law at each position is laws [S, L, K']: sum over canvases of mass times a product.

    The product over all positions is never written out: that over the left half meets that over the right half.
    """
    half = laws.shape[1] // 2
    left, right = outer(laws[:, :half]), outer(laws[:, half:])
    return ((mass[:, None] * left).mT @ right).flatten()


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
