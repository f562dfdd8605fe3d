"""Noise schedules: alpha(t), the probability that a token has survived until time t in [0, 1]."""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Schedule:
    """One curve from alpha(0) = 1, clean, down to alpha(1) = 0, all noise (or as near as the source goes).

    Attributes:
        name: what settings call it.
        formula: alpha(t), for people.
        source: where it is from.
        alpha: t -> alpha(t), decreasing.
        time_at: alpha -> the t at which it is reached.
        derivative: t -> d alpha / dt; None for a schedule that is only defined at discrete times.
        noise: t -> 1 - alpha(t) where the subtraction would lose digits near t = 0; None where it loses none.
        aliases: other names under which the literature has the very same curve.

    The methods raise ValueError for a t outside their range, and where a derivative is needed and there is none.
    """

    name: str
    formula: str
    source: str
    alpha: Callable[[float], float]
    time_at: Callable[[float], float]
    derivative: Callable[[float], float] | None = None
    noise: Callable[[float], float] | None = None
    aliases: tuple[str, ...] = ()

    def noised(self, t: float) -> float:
        """1 - alpha(t), the probability that a token has been hit by noise, to full precision near t = 0."""
        check_time(t)
        kept = self.alpha(t)
        return self.noise(t) if self.noise and kept > 0.5 else 1.0 - kept

    def sigma(self, t: float) -> float:
        """-log alpha(t), the total noise; infinite where nothing survives. Source: SEDD (arXiv 2310.16834)."""
        noised = self.noised(t)
        if noised < 0.5:
            return -math.log1p(-noised)
        kept = self.alpha(t)
        return -math.log(kept) if kept > 0.0 else math.inf

    def beta(self, t: float) -> float:
        """sigma'(t) = -alpha'(t) / alpha(t), the rate at which noise hits; infinite where nothing survives.

        In discrete time its counterpart is beta_k = 1 - alpha_k / alpha_(k-1): see `ddemo.processes.betas`.
        """
        check_time(t)
        slope, kept = self._slope(t), self.alpha(t)
        return -slope / kept if kept > 0.0 else math.inf

    def hazard(self, t: float) -> float:
        """-alpha'(t) / (1 - alpha(t)): the rate at which a noised token turns clean as time runs backwards.

        It is the weight of the cross-entropy in the continuous-time bound for masks: MDLM (arXiv 2406.07524), eq. 10,
        and MD4 (arXiv 2406.04329); 1 / t on the linear schedule.

        Raises:
            ValueError: the schedule has no derivative, or t = 0, where the rate is infinite.
        """
        slope = self._slope(t)
        if not 0.0 < t <= 1.0:
            raise ValueError(f"t must be in (0, 1], not {t}")
        noised = self.noised(t)
        return -slope / noised if noised > 0.0 else math.inf

    def kept(self, t: float, s: float) -> float:
        """alpha(t) / alpha(s) for s <= t: the probability that a token of time s has survived to t; 0 if none has."""
        _check_order(t, s)
        kept = self.alpha(s)
        return self.alpha(t) / kept if kept > 0.0 else 0.0

    def lost(self, t: float, s: float) -> float:
        """1 - `kept`, without losing digits when both times are near 0."""
        kept = self.kept(t, s)
        return (self.noised(t) - self.noised(s)) / self.alpha(s) if kept > 0.5 else 1.0 - kept

    def stay(self, t: float, s: float) -> float:
        """(1 - alpha(s)) / (1 - alpha(t)) for s <= t: q(x_s = mask | x_t = mask), to full precision near t = 0.

        Source: D3PM (arXiv 2107.03006), absorbing case; MDLM (arXiv 2406.07524), eq. 6.

        Raises:
            ValueError: nothing is noised at t.
        """
        _check_order(t, s)
        noised = self.noised(t)
        if noised == 0.0:
            raise ValueError(f"t must be a time at which something is noised, not {t}")
        return self.noised(s) / noised

    def _slope(self, t: float) -> float:
        if self.derivative is None:
            raise ValueError(f"the {self.name} schedule has no derivative")
        return self.derivative(t) if 0.0 <= t <= 1.0 else math.nan


def check_time(t: float, name: str = "t") -> None:
    """Raises ValueError unless t is in [0, 1]."""
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], not {t}")


def _check_order(t: float, s: float) -> None:
    if not 0.0 <= s <= t <= 1.0:
        raise ValueError(f"times must be 0 <= s <= t <= 1, not s = {s} and t = {t}")


def _geometric(low: float = 1e-5, high: float = 20.0) -> Schedule:
    """sigma(t) = low^(1 - t) high^t, and alpha = exp(-sigma)."""
    ratio = math.log(high / low)

    def sigma(t: float) -> float:
        return low * math.exp(ratio * t)

    return Schedule(
        "geometric",
        "exp(-sigma), sigma = 0.00001^(1 - t) 20^t",
        "Lou et al. 2024, SEDD (arXiv 2310.16834)",
        lambda t: math.exp(-sigma(t)),
        lambda alpha: min(1.0, max(0.0, math.log(-math.log(min(max(alpha, 1e-300), 1 - 1e-16)) / low) / ratio)),
        lambda t: -ratio * sigma(t) * math.exp(-sigma(t)),
        lambda t: -math.expm1(-sigma(t)),
    )


def d3pm_cosine_betas(steps: int = 1000) -> list[float]:
    """beta_1 .. beta_T of D3PM's cosine schedule: min(1 - f(k) / f(k - 1), 0.999), f a cosine that starts late."""

    def f(k: int) -> float:
        return math.cos((k / steps + 0.008) / 1.008 * math.pi / 2)

    return [min(1.0 - f(k) / f(k - 1), 0.999) for k in range(1, steps + 1)]


def d3pm_linear_betas(steps: int = 1000, start: float = 1e-4, stop: float = 0.02) -> list[float]:
    """beta_1 .. beta_T in even steps from start to stop, by default those of DDPM (arXiv 2006.11239)."""
    return [start + (stop - start) * k / max(1, steps - 1) for k in range(steps)]


def staircase(name: str, formula: str, source: str, betas: Callable[[], list[float]]) -> Schedule:
    """A schedule that is only known after each of T steps: alpha_k = (1 - beta_1) ... (1 - beta_k) at t = k / T.

    Between two steps alpha is the later one's, so that no time but 0 is without noise; `time_at` is the first of the
    discrete times at which at most alpha survives, and 1 where that much noise is never reached.
    """

    @cache
    def survival() -> list[float]:
        kept = [1.0]
        for beta in betas():
            kept.append(kept[-1] * (1.0 - beta))
        return kept

    return Schedule(
        name,
        formula,
        source,
        lambda t: survival()[math.ceil(t * (len(survival()) - 1) - 1e-9)],
        lambda alpha: min(
            1.0, bisect.bisect_left(survival(), -alpha, key=lambda kept: -kept) / (len(survival()) - 1)
        ),
    )


LINEAR = Schedule(
    "linear",
    "1 - t",
    "LLaDA; MDLM and SEDD call it log-linear; D3PM's 1 / (T - t + 1) is the same curve",
    lambda t: 1.0 - t,
    lambda alpha: 1.0 - alpha,
    lambda t: -1.0,
    lambda t: t,
    aliases=("log-linear", "1 / (T - t + 1)", "mutual information (absorbing)"),
)
COSINE = Schedule(
    "cosine",
    "cos(pi t / 2)",
    "Sahoo et al. 2024, MDLM (arXiv 2406.07524)",
    lambda t: math.sin(math.pi * (1.0 - t) / 2),  # which is 0 at t = 1 to the last bit
    lambda alpha: 2 / math.pi * math.acos(alpha),
    lambda t: -math.pi / 2 * math.sin(math.pi * t / 2),
    lambda t: 2.0 * math.sin(math.pi * t / 4) ** 2,
)
COSINE_SQUARED = Schedule(
    "cosine-squared",
    "cos(pi t / 2)^2",
    "Sahoo et al. 2024, MDLM (arXiv 2406.07524)",
    lambda t: math.sin(math.pi * (1.0 - t) / 2) ** 2,
    lambda alpha: 2 / math.pi * math.acos(math.sqrt(alpha)),
    lambda t: -math.pi * math.sin(math.pi * t / 2) * math.sin(math.pi * (1.0 - t) / 2),
    lambda t: math.sin(math.pi * t / 2) ** 2,
)
QUADRATIC = Schedule(
    "quadratic",
    "(1 - t)^2",
    "Gat et al. 2024, discrete flow matching (arXiv 2407.15595): kappa = time^2, with time 1 - t",
    lambda t: (1.0 - t) ** 2,
    lambda alpha: 1.0 - math.sqrt(alpha),
    lambda t: -2.0 * (1.0 - t),
    lambda t: t * (2.0 - t),
)
GEOMETRIC = _geometric()
D3PM_COSINE = staircase(
    "d3pm-cosine",
    "a product of 1 - beta over 1,000 discrete steps",
    "Austin et al. 2021, D3PM (arXiv 2107.03006)",
    d3pm_cosine_betas,
)

SCHEDULES = {
    schedule.name: schedule for schedule in (LINEAR, COSINE, COSINE_SQUARED, QUADRATIC, GEOMETRIC, D3PM_COSINE)
}
