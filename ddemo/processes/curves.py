"""Every noise schedule that the lab draws: those of the samplers, and curves that suit a drawing better than a run.

Many papers name the same curve differently. Here one curve is one `Schedule`, which lists its other names.
"""

import math

from ddemo.processes.schedules import SCHEDULES, Schedule, d3pm_linear_betas, staircase

MD4 = "Shi et al. 2024, MD4 (arXiv 2406.04329), table 1"


def polynomial(power: float) -> Schedule:
    """alpha(t) = 1 - t^power; power 1 is the linear schedule. Its loss weight is power / t. Source: MD4, table 1.

    Raises:
        ValueError: power is not a positive number.
    """
    _check_positive("power", power)
    return Schedule(
        f"polynomial-{power:g}",
        f"1 - t^{power:g}",
        MD4,
        lambda t: -math.expm1(power * math.log(t)) if t > 0.0 else 1.0,
        lambda alpha: (1.0 - alpha) ** (1.0 / power),
        lambda t: -power * t ** (power - 1.0) if t > 0.0 or power >= 1.0 else -math.inf,
        lambda t: t**power,
    )


def power_of_rest(power: float) -> Schedule:
    """alpha(t) = (1 - t)^power: the other polynomial, of discrete flow matching; power 2 is "quadratic".

    Source: Gat et al. 2024 (arXiv 2407.15595), where kappa = time^power and time = 1 - t.

    Raises:
        ValueError: power is not a positive number.
    """
    _check_positive("power", power)
    return Schedule(
        f"power-{power:g}",
        f"(1 - t)^{power:g}",
        "Gat et al. 2024, discrete flow matching (arXiv 2407.15595)",
        lambda t: (1.0 - t) ** power,
        lambda alpha: 1.0 - alpha ** (1.0 / power),
        lambda t: -power * (1.0 - t) ** (power - 1.0) if t < 1.0 or power >= 1.0 else -math.inf,
        lambda t: -math.expm1(power * math.log1p(-t)) if t < 1.0 else 1.0,
    )


def constant_rate(total: float) -> Schedule:
    """alpha(t) = exp(-total t): noise hits at the same rate at all times, so that P(t) is exp(t total Q).

    Source: the linear sigma of the noise schedules of MDLM's code (arXiv 2406.07524).

    Raises:
        ValueError: total is not a positive number.
    """
    _check_positive("total", total)
    return Schedule(
        "constant-rate",
        f"exp(-{total:g} t)",
        "MDLM's code (arXiv 2406.07524): sigma linear in t",
        lambda t: math.exp(-total * t),
        lambda alpha: min(1.0, -math.log(alpha) / total) if alpha > 0.0 else 1.0,
        lambda t: -total * math.exp(-total * t),
        lambda t: -math.expm1(-total * t),
    )


def _check_positive(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, not {value}")


POLYNOMIAL = polynomial(2.0)
CONSTANT_RATE = constant_rate(10.0)
LATE_COSINE = Schedule(
    "md4-cosine",
    "1 - cos(pi (1 - t) / 2)",
    f"{MD4}; it falls early, where MDLM's cosine falls late",
    lambda t: 2.0 * math.sin(math.pi * (1.0 - t) / 4) ** 2,
    lambda alpha: 1.0 - 2 / math.pi * math.acos(1.0 - alpha),
    lambda t: -math.pi / 2 * math.sin(math.pi * (1.0 - t) / 2),
    lambda t: math.sin(math.pi * t / 2),
)
D3PM_LINEAR = staircase(
    "d3pm-linear",
    "a product of 1 - beta over 1,000 steps, beta from 0.0001 to 0.02",
    "Austin et al. 2021, D3PM (arXiv 2107.03006), after DDPM (arXiv 2006.11239)",
    d3pm_linear_betas,
)

CURVES = SCHEDULES | {schedule.name: schedule for schedule in (POLYNOMIAL, LATE_COSINE, CONSTANT_RATE, D3PM_LINEAR)}


def curve(name: str) -> Schedule:
    """The schedule of that name, or that is known by it as an alias.

    Raises:
        ValueError: there is none.
    """
    for schedule in CURVES.values():
        if name == schedule.name or name in schedule.aliases:
            return schedule
    raise ValueError(f"schedule must be one of {', '.join(CURVES)}, not {name!r}")
