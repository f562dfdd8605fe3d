"""Published laws, written plainly, and what is needed to hold samplers against them.

The laws here share no code with the samplers. A small world has so few states that a sampler's whole run can be
computed: `law_of_masks` and `law_of_words` multiply its steps out and give the probability of every text it can end
with. Draws are then held against that law, and that law against the world.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddemo.denoisers.exact_world import ExactWorldDenoiser
from ddemo.processes import SCHEDULES
from ddemo.processes.exact import ExactWorld
from ddemo.sampling import Canvas, FillRules, Lane, SamplerConfig, denoise, from_noise
from tests.processes import dense

# Chances


def chance_of(seen: Tensor, law: Tensor) -> float:
    """The probability of a chi-square at least that of the counts `seen`, if they were drawn from `law`.

    Cells where fewer than five are expected count as one cell. What cannot be and was seen has probability 0.
    """
    seen, expected = seen.double().flatten(), law.double().flatten() * seen.sum()
    if (seen[expected <= 0] > 0).any():
        return 0.0
    rare = expected < 5
    parts = [(seen[~rare], expected[~rare]), (seen[rare].sum()[None], expected[rare].sum()[None])]
    seen, expected = (torch.cat(column) for column in zip(*parts, strict=True))
    seen, expected = seen[expected > 0], expected[expected > 0]
    if len(seen) < 2:
        return 1.0
    statistic = ((seen - expected) ** 2 / expected).sum()
    return torch.special.gammaincc(torch.tensor((len(seen) - 1) / 2, dtype=torch.float64), statistic / 2).item()


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation between two laws."""
    return (one - other).abs().sum().item() / 2


def furthest(values: Tensor) -> float:
    """Kolmogorov's distance of numbers [n] from the uniform law on [0, 1]."""
    ordered, n = values.double().sort().values, len(values)
    rank = torch.arange(n, dtype=torch.float64)
    return max((ordered - rank / n).max().item(), ((rank + 1) / n - ordered).max().item())


def furthest_by_chance(count: int, chance: float) -> float:
    """What `furthest` exceeds with at most this probability (Dvoretzky, Kiefer, Wolfowitz, Massart)."""
    return math.sqrt(math.log(2 / chance) / (2 * count))


# Times


def times_of(sampler: str, steps: int) -> list[tuple[float, float]]:
    """(t, s) of every step, as the sources divide time; the extra denoise step is among them."""
    ends = {"sedd-analytic": 1e-5, "sedd-euler": 1e-5, "tau-leaping": 0.01}
    if sampler.startswith("dream"):
        grid = [*torch.linspace(1, 1e-3, steps + 1, dtype=torch.float64).tolist()[:-1], 0.0]
    else:
        grid = torch.linspace(1, ends.get(sampler, 0.0), steps + 1, dtype=torch.float64).tolist()
        grid += [0.0] * (sampler in ends)
    return list(itertools.pairwise(grid))


FLOORED = ("sedd-analytic", "sedd-euler", "tau-leaping")


def noise_at(sampler: str, schedule: str, t: float) -> tuple[float, float]:
    """alpha(t) and sigma'(t) = -alpha' / alpha, with SEDD's 0.001 that survives at t = 1."""
    kept = 0.999 if sampler in FLOORED else 1.0
    curve = SCHEDULES[schedule]
    alpha = 1.0 if t == 0.0 else 1.0 - kept * (1.0 - curve.alpha(t))
    slope = kept * curve.derivative(t) if curve.derivative else math.nan
    return alpha, -slope / alpha if alpha > 0 else math.inf


# Masks: how probably each is revealed, and each token masked again


def mask_step(sampler: str, t: float, s: float, schedule: str = "linear", **knobs) -> tuple[float, float]:
    """(reveal, remask) of a step that is not the last, from the formulas of the sources."""
    a_t, sigma_rate = noise_at(sampler, schedule, t)
    a_s, _ = noise_at(sampler, schedule, s)
    h = t - s
    if sampler == "dream-origin":
        return 1.0 - s / t, 0.0
    if sampler in ("ancestral", "plug-in"):
        return (a_s - a_t) / (1.0 - a_t), 0.0
    if sampler.startswith("sedd") or sampler == "tau-leaping":
        sigma_t, sigma_s = -math.log(a_t), -math.log(a_s)
        scores = 1.0 / math.expm1(sigma_t)
        if sampler == "sedd-analytic":
            return math.expm1(sigma_t - sigma_s) * scores, 0.0
        expected = h * sigma_rate * scores
        return (min(1.0, expected), 0.0) if sampler == "sedd-euler" else (expected * math.exp(-expected), 0.0)
    if sampler == "flow":
        c, growth = knobs.get("corrector", 0.0) if a_t > 0 else 0.0, -SCHEDULES[schedule].derivative(t)  # kappa'
        back = c * growth / a_t if c else 0.0
        return 1.0 - math.exp(-h * (1 + c) * growth / (1.0 - a_t)), 1.0 - math.exp(-h * back)
    return remdm_step(sampler, t, s, a_t, a_s, **knobs)


def remdm_step(sampler: str, t: float, s: float, a_t: float, a_s: float, **knobs) -> tuple[float, float]:
    """ReMDM's posterior: masks become v with p(v) (a_s - (1 - sigma) a_t) / (1 - a_t), tokens masks with sigma."""
    eta = knobs["eta"]
    on = 1.0
    if sampler == "remdm-loop":
        a_t, a_s = (remdm_loop_alpha(time, knobs["t_on"], knobs["t_off"], knobs["alpha_on"]) for time in (t, s))
        on = 1.0 if knobs["t_off"] < t <= knobs["t_on"] else 0.0
    most = 1.0 if a_t == 0 else min(1.0, (1.0 - a_s) / a_t)
    sigma = eta * most if sampler == "remdm-rescale" else on * min(eta, most)
    return (a_s - (1.0 - sigma) * a_t) / (1.0 - a_t), sigma


def remdm_loop_alpha(t: float, t_on: float, t_off: float, alpha_on: float) -> float:
    """Straight from 0 at t = 1 to alpha_on at t_on, level until t_off, straight to 1 at t = 0."""
    corners = [(1.0, 0.0), (t_on, alpha_on), (t_off, alpha_on), (0.0, 1.0)]
    for (late, low), (early, high) in itertools.pairwise(corners):
        if early <= t <= late:
            return low + (high - low) * (late - t) / (late - early)
    raise AssertionError(t)


def law_of_masks(world: ExactWorld, sampler: str, steps: int, schedule: str = "linear", **knobs) -> Tensor:
    """[K] * L: the law of the texts that a time-driven sampler ends with, multiplied out state by state.

    Every state of the canvas, (K + 1)^L of them, has its probability; a step moves it on position by position.
    """
    size, length = world.size, world.length
    states = torch.tensor(list(itertools.product(range(size + 1), repeat=length)))
    masked = states == size
    p = world.given(states, masked)
    if sampler == "plug-in":
        p = one_hot(p)
    at = torch.zeros(len(states), dtype=torch.float64)
    at[-1] = 1.0
    moments = times_of(sampler, steps)
    for number, (t, s) in enumerate(moments, 1):
        last = number == len(moments)
        reveal, remask = (1.0, 0.0) if last else mask_step(sampler, t, s, schedule, **knobs)
        becomes = one_hot(p) if last and sampler == "tau-leaping" else p
        from_mask = torch.cat([reveal * becomes, torch.full_like(p[..., :1], 1.0 - reveal)], -1)
        from_token = (1.0 - remask) * torch.eye(size + 1, dtype=torch.float64)[states]
        from_token[..., size] += remask
        at = at @ product_of(torch.where(masked[..., None], from_mask, from_token))
    return at.reshape((size + 1,) * length)[(slice(0, size),) * length]


# Words: the law of one position under uniform noise


def word_step(
    sampler: str, p: Tensor, alone: Tensor, seen: int, t: float, s: float, schedule: str = "linear", **knobs
) -> Tensor:
    """[K] p(x_s | x_t = seen), from dense matrices.

    Args:
        p: [K] p(x0 | x_t). alone: [K] the belief that the joint-weighted law is fed with.
    """
    size, h, last = len(p), t - s, s == 0.0
    a_t, sigma_rate = noise_at(sampler, schedule, t)
    a_s, _ = noise_at(sampler, schedule, s)
    to_t, to_s = dense.uniform_matrix(a_t, size), dense.uniform_matrix(a_s, size)
    between = dense.uniform_matrix(a_t / a_s, size)
    if sampler == "uniform-joint":
        return dense.joint_weighted(alone, seen, to_s, between)
    if sampler == "plug-in":
        return dense.mean_posterior(one_hot(p), seen, to_s, between)
    if sampler == "posterior-argmax":
        return one_hot(dense.mean_posterior(p, seen, to_s, between))
    if sampler == "uniform-ancestral":
        return dense.mean_posterior(p, seen, to_s, between)
    if sampler == "flow":
        return p if last else flow_law(p, seen, h, a_t, -SCHEDULES[schedule].derivative(t), **knobs)
    scores = dense.score(p, seen, to_t)
    if sampler == "tau-leaping" and last:
        return one_hot(p)
    if sampler == "sedd-analytic" or last:
        return dense.tweedie(scores, seen, between)
    rates = dense.reverse_rate(scores, seen, sigma_rate * dense.uniform_rate(size))
    return (dense.euler if sampler == "sedd-euler" else dense.one_poisson_jump)(rates, seen, h)


def flow_law(p: Tensor, seen: int, h: float, kappa: float, growth: float, corrector: float = 0.0) -> Tensor:
    """Gat et al.: u = k' / (1 - k) d_x1 + c k' / (k (1 - k)) [(1 - k) p0 + k d_x1], averaged over x1 ~ p."""
    law = torch.zeros_like(p)
    for target, weight in enumerate(p.tolist()):
        to = torch.eye(len(p), dtype=torch.float64)[target]
        rates = growth / (1 - kappa) * to
        if corrector and kappa > 0:
            rates = rates + corrector * growth / (kappa * (1 - kappa)) * ((1 - kappa) / len(p) + kappa * to)
        rates[seen] = 0.0
        law += weight * dense.first_jump(rates, seen, h)
    return law


def law_of_words(
    world: ExactWorld,
    sampler: str,
    steps: int,
    schedule: str = "linear",
    feed: Callable[[Tensor, float, ExactWorld], tuple[Tensor, Tensor]] | None = None,
    **knobs,
) -> Tensor:
    """[K] * L: as `law_of_masks`, under uniform noise.

    Args:
        feed: (states, alpha, world) -> what the sampler takes for p(x0 | x_t) and for the leave-one-out belief;
            the right ones by default.
    """
    size, length = world.size, world.length
    states = torch.tensor(list(itertools.product(range(size), repeat=length)))
    at = torch.full((len(states),), 1.0 / len(states), dtype=torch.float64)
    for t, s in times_of(sampler, steps):
        alpha, _ = noise_at(sampler, schedule, t)
        p, alone = (feed or rightly)(states, alpha, world)
        rows = [
            word_step(sampler, p[i, j], alone[i, j], seen, t, s, schedule, **knobs)
            for i, state in enumerate(states.tolist())
            for j, seen in enumerate(state)
        ]
        at = at @ product_of(torch.stack(rows).unflatten(0, (len(states), length)))
    return at.reshape((size,) * length)


def rightly(states: Tensor, alpha: float, world: ExactWorld) -> tuple[Tensor, Tensor]:
    return world.given_uniform(states, alpha), world.leave_one_out_uniform(states, alpha)


def posterior_for_both(states: Tensor, alpha: float, world: ExactWorld) -> tuple[Tensor, Tensor]:
    return (world.given_uniform(states, alpha),) * 2


def leave_one_out_for_both(states: Tensor, alpha: float, world: ExactWorld) -> tuple[Tensor, Tensor]:
    return (world.leave_one_out_uniform(states, alpha),) * 2


def one_hot(law: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(law.argmax(-1), law.shape[-1]).double()


def product_of(rows: Tensor) -> Tensor:
    """[S, L, N] laws of single positions -> [S, N^L] of the whole canvas."""
    together = rows[:, 0]
    for i in range(1, rows.shape[1]):
        together = (together[:, :, None] * rows[:, i, None, :]).flatten(1)
    return together


# Runs of `denoise`


def small_world(size: int = 3, length: int = 3, seed: int = 5, sharpness: float = 4.0) -> ExactWorld:
    """Strongly dependent words, none of them impossible."""
    generator = torch.Generator().manual_seed(seed)
    joint = torch.rand((size,) * length, generator=generator, dtype=torch.float64) ** sharpness + 1e-3
    return ExactWorld(joint / joint.sum())


class ManyWorlds:
    """Independent copies of a world, one after the other on one long canvas.

    A sampler that decides position by position runs all of them in a single lane, which is much faster than a lane
    for each; to each it is as if it were alone.
    """

    def __init__(
        self, world: ExactWorld, copies: int, process: str, knows: str = "posterior", says: str | None = None
    ):
        """`knows`: what it answers with; `says`: what it claims that to be, the same unless given."""
        self.one = ExactWorldDenoiser(world, "many", process, knows)
        self.id, self.process, self.predicts = "many", process, says or knows
        self.vocab_size, self.mask_id, self.takes_time = self.one.vocab_size, self.one.mask_id, self.one.takes_time
        self.device, self.length, self.max_length = self.one.device, world.length, world.length * copies

    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        assert (lengths == self.max_length).all()
        cut = [table.reshape(-1, self.length) for table in (tokens, times, wanted)]
        tokens, times, wanted = cut
        return self.one(tokens, times, torch.full((len(tokens),), self.length), wanted)


def masks(length: int, mask_id: int) -> Canvas:
    free = torch.zeros(length, dtype=torch.bool)
    return Canvas(torch.full((length,), mask_id), free, torch.zeros(length, dtype=torch.uint8))


def words_only(denoiser) -> FillRules:
    """Nothing but the world's words may be noise or text: the two ids after them are padding and mask."""
    ids = torch.arange(denoiser.vocab_size)
    return FillRules(ids >= denoiser.vocab_size - 2, {}, torch.empty(0, dtype=torch.int64))


def run_to_the_end(denoiser, lanes: list[Lane], rules: FillRules) -> None:
    for _ in denoise(denoiser, lanes, rules):
        pass
    for lane in lanes:
        if lane.failure is not None:
            raise lane.failure


def counts_in_one_lane(
    world: ExactWorld, copies: int, process: str = "absorbing", knows="posterior", says=None, **values
):
    """[K] * L how often each text came out of `copies` worlds on one canvas."""
    denoiser = ManyWorlds(world, copies, process, knows, says)
    rules, config = words_only(denoiser), SamplerConfig(candidates=0, **values)
    canvas = masks(denoiser.max_length, denoiser.mask_id)
    lane = Lane.fresh(canvas, config, denoiser.mask_id)
    if process == "uniform":
        lane = Lane(from_noise(canvas, denoiser.mask_id, ~rules.never, config.seed), config, lane.clock)
    run_to_the_end(denoiser, [lane], rules)
    return counted(world, lane.tokens.view(copies, world.length))


def counts_in_lanes(world: ExactWorld, lanes: int, **values) -> Tensor:
    """[K] * L how often each text came out of as many lanes of one batch."""
    return counted(world, torch.stack([lane.tokens for lane in run_lanes(world, lanes, **values)]))


def run_lanes(world: ExactWorld, lanes: int, **values) -> list[Lane]:
    denoiser = ExactWorldDenoiser(world, "one", "absorbing")
    config, canvas = SamplerConfig(candidates=0, **values), masks(world.length, denoiser.mask_id)
    batch = [Lane.fresh(canvas, config, denoiser.mask_id, number) for number in range(lanes)]
    run_to_the_end(denoiser, batch, words_only(denoiser))
    return batch


def counted(world: ExactWorld, texts: Tensor) -> Tensor:
    """Texts [n, L] -> how often each occurs."""
    counts = torch.zeros(world.joint.shape, dtype=torch.float64)
    return counts.index_put_(texts.unbind(1), torch.ones(len(texts), dtype=torch.float64), accumulate=True)
