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
    """

    name: str
    formula: str
    source: str
    alpha: Callable[[float], float]
    time_at: Callable[[float], float]
    derivative: Callable[[float], float] | None = None

    def hazard(self, t: float) -> float:
        """-alpha'(t) / (1 - alpha(t)): the rate at which a noised token turns clean as time runs backwards.

        Raises:
            ValueError: the schedule has no derivative, or t = 0, where the rate is infinite.
        """
        if self.derivative is None:
            raise ValueError(f"the {self.name} schedule has no derivative")
        if not 0.0 < t <= 1.0:
            raise ValueError(f"t must be in (0, 1], not {t}")
        return -self.derivative(t) / (1.0 - self.alpha(t))


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
    )


@cache
def _d3pm_survival(steps: int = 1000) -> tuple[float, ...]:
    """alpha after 0 .. steps steps of D3PM's cosine schedule, beta = min(1 - f(k) / f(k - 1), 0.999)."""

    def f(k: int) -> float:
        return math.cos((k / steps + 0.008) / 1.008 * math.pi / 2)

    survival = [1.0]
    for k in range(1, steps + 1):
        survival.append(survival[-1] * (1.0 - min(1.0 - f(k) / f(k - 1), 0.999)))
    return tuple(survival)


def _d3pm_alpha(t: float) -> float:
    """Between two of the discrete steps it is the later one's, so that no time but 0 is without noise."""
    survival = _d3pm_survival()
    return survival[math.ceil(t * (len(survival) - 1) - 1e-9)]


def _d3pm_time_at(alpha: float) -> float:
    """The first of the discrete times at which at most alpha survives; 1 where that much noise is never reached."""
    survival = _d3pm_survival()
    return min(1.0, bisect.bisect_left(survival, -alpha, key=lambda kept: -kept) / (len(survival) - 1))


LINEAR = Schedule(
    "linear",
    "1 - t",
    "LLaDA; MDLM and SEDD call it log-linear; D3PM's 1 / (T - t + 1) is the same curve",
    lambda t: 1.0 - t,
    lambda alpha: 1.0 - alpha,
    lambda t: -1.0,
)
COSINE = Schedule(
    "cosine",
    "cos(pi t / 2)",
    "Sahoo et al. 2024, MDLM (arXiv 2406.07524)",
    lambda t: math.sin(math.pi * (1.0 - t) / 2),  # which is 0 at t = 1 to the last bit
    lambda alpha: 2 / math.pi * math.acos(alpha),
    lambda t: -math.pi / 2 * math.sin(math.pi * t / 2),
)
COSINE_SQUARED = Schedule(
    "cosine-squared",
    "cos(pi t / 2)^2",
    "Sahoo et al. 2024, MDLM (arXiv 2406.07524)",
    lambda t: math.sin(math.pi * (1.0 - t) / 2) ** 2,
    lambda alpha: 2 / math.pi * math.acos(math.sqrt(alpha)),
    lambda t: -math.pi / 2 * math.sin(math.pi * t),
)
QUADRATIC = Schedule(
    "quadratic",
    "(1 - t)^2",
    "Gat et al. 2024, discrete flow matching (arXiv 2407.15595): kappa = time^2, with time 1 - t",
    lambda t: (1.0 - t) ** 2,
    lambda alpha: 1.0 - math.sqrt(alpha),
    lambda t: -2.0 * (1.0 - t),
)
GEOMETRIC = _geometric()
D3PM_COSINE = Schedule(
    "d3pm-cosine",
    "a product of 1 - beta over 1,000 discrete steps",
    "Austin et al. 2021, D3PM (arXiv 2107.03006)",
    _d3pm_alpha,
    _d3pm_time_at,
)

SCHEDULES = {
    schedule.name: schedule for schedule in (LINEAR, COSINE, COSINE_SQUARED, QUADRATIC, GEOMETRIC, D3PM_COSINE)
}
