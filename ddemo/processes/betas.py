"""Schedules of discrete steps: beta_k, the probability that step k of T noises a token, and what follows from it.

Tensors are float64. Betas are [T], for the steps 1 .. T; alphas are [T + 1], alpha_0 = 1 and alpha_k =
(1 - beta_1) ... (1 - beta_k).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ddemo.processes import schedules
from ddemo.processes.information import mutual_information
from ddemo.processes.schedules import Schedule
from ddemo.processes.validation import law as checked_law


def d3pm_linear(steps: int, start: float = 1e-4, stop: float = 0.02) -> Tensor:
    """In even steps from start to stop. Source: D3PM (arXiv 2107.03006), section 3.2, after DDPM."""
    _check_steps(steps)
    return check_betas(torch.tensor(schedules.d3pm_linear_betas(steps, start, stop), dtype=torch.float64))


def d3pm_cosine(steps: int) -> Tensor:
    """The cosine schedule, the last beta cut off at 0.999. Source: D3PM, section 3.2, for uniform noise."""
    _check_steps(steps)
    return torch.tensor(schedules.d3pm_cosine_betas(steps), dtype=torch.float64)


def d3pm_absorbing(steps: int) -> Tensor:
    """beta_k = 1 / (T - k + 1), with which alpha_k = 1 - k / T: the linear schedule. Source: D3PM, section 3.2."""
    _check_steps(steps)
    return 1.0 / torch.arange(steps, 0, -1, dtype=torch.float64)


def of_schedule(schedule: Schedule, steps: int) -> Tensor:
    """beta_k = 1 - alpha(k / T) / alpha((k - 1) / T); a later step of a curve that has come to 0 is 1.

    Where a curve does not begin at 1 (geometric), its first step takes what is missing.
    """
    _check_steps(steps)
    first = [schedule.noised(1.0 / steps)]
    rest = [schedule.lost(k / steps, (k - 1) / steps) for k in range(2, steps + 1)]
    return torch.tensor(first + rest, dtype=torch.float64)


def of_mutual_information(initial: Tensor, transition: Callable[[float], Tensor], steps: int) -> Tensor:
    """The noise sigma_0 .. sigma_T [T + 1] at which x_k has told 1 - k / T of what x_0 is: I(x_k; x_0) falls evenly.

    For absorbing noise, alpha = e^-sigma is 1 - k / T, and the betas are `d3pm_absorbing`. The last sigma is
    infinite, since all is forgotten only then. Source: D3PM, section 3.2 and appendix A.7.

    Args:
        initial: [K], the law of x_0.
        transition: sigma -> q(x_t | x_0) [K, K] after that much noise, with less information for more noise.

    Raises:
        ValueError: noise of 2^20 still tells too much, or x_0 is certain from the start.
    """
    _check_steps(steps)
    initial = checked_law(initial)
    whole = float(-torch.xlogy(initial, initial).sum())
    if whole <= 0.0:
        raise ValueError("initial must leave something to be told: one symbol has all the probability")
    sigmas, low = [0.0], 0.0
    for k in range(1, steps):
        low = _noise_that_leaves(whole * (1.0 - k / steps), initial, transition, low)
        sigmas.append(low)
    return torch.tensor([*sigmas, torch.inf], dtype=torch.float64)


def _noise_that_leaves(wanted: float, initial: Tensor, transition: Callable[[float], Tensor], low: float) -> float:
    """By bisection, to the last bits: the sigma at which I(x_t; x_0) = wanted, known to be at least `low`."""
    high = max(1.0, 2.0 * low)
    while mutual_information(initial, transition(high)) > wanted:
        high *= 2.0
        if high > 2**20:
            raise ValueError(f"transition must forget x_0: noise of {high:g} still tells more than {wanted:.6g} nats")
    for _ in range(60):
        middle = 0.5 * (low + high)
        if mutual_information(initial, transition(middle)) > wanted:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def alphas_of(betas: Tensor) -> Tensor:
    """alpha_0 .. alpha_T [T + 1]."""
    return torch.cat([betas.new_ones(1), torch.cumprod(1.0 - check_betas(betas), 0)])


def noised_of(betas: Tensor) -> Tensor:
    """1 - alpha_0 .. 1 - alpha_T [T + 1], to full precision where betas are small."""
    return -torch.expm1(-sigmas_of(betas))


def sigmas_of(betas: Tensor) -> Tensor:
    """sigma_k = -log alpha_k [T + 1]; infinite from a beta of 1 on."""
    return torch.cat([betas.new_zeros(1), -torch.cumsum(torch.log1p(-check_betas(betas)), 0)])


def betas_of(alphas: Tensor) -> Tensor:
    """beta_k = 1 - alpha_k / alpha_(k-1) [T] from alphas [T + 1]; 1 where nothing was left.

    Raises:
        ValueError: alphas do not fall from 1 within [0, 1].
    """
    alphas = alphas.to(torch.float64)
    if alphas.dim() != 1 or len(alphas) < 2 or not (alphas[0] == 1.0 and alphas[-1] >= 0.0):
        raise ValueError("alphas must be [T + 1] numbers that fall from 1 and not below 0")
    before, after = alphas[:-1], alphas[1:]
    if not (after <= before).all():
        raise ValueError(f"alphas must never rise, and do after step {int((~(after <= before)).nonzero()[0])}")
    return torch.where(before > 0.0, (before - after) / before.clamp_min(1e-300), 1.0)


def loss_weights(betas: Tensor) -> Tensor:
    """(alpha_(k-1) - alpha_k) / (1 - alpha_k) [T]: what multiplies the cross-entropy at a mask in step k's term.

    Source: the absorbing bound of D3PM, appendix A.3; MDLM (arXiv 2406.07524), at finite T.

    Raises:
        ValueError: nothing is noised after the first step.
    """
    if check_betas(betas)[0] == 0.0:
        raise ValueError("betas must begin above 0: a step after which nothing is noised has no weight")
    return alphas_of(betas)[:-1] * betas / noised_of(betas)[1:]


def check_betas(betas: Tensor) -> Tensor:
    """[T] float64. Raises ValueError unless all are in [0, 1]."""
    betas = torch.as_tensor(betas, dtype=torch.float64)
    bad = ~((betas >= 0.0) & (betas <= 1.0))
    if betas.dim() != 1 or len(betas) == 0 or bad.any():
        what = f"{betas[bad][0].item()}" if bad.any() else f"shape {list(betas.shape)}"
        raise ValueError(f"betas must be [T] probabilities in [0, 1], not {what}")
    return betas


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
