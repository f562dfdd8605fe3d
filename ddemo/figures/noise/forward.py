"""The survival curve: how likely a token is still itself at time t, and what share of the draws is."""

from collections.abc import Iterable, Sequence
from functools import cache

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, evenly, line, marks, plain, titled, upright, warm
from ddemo.figures.tables import csv_text
from ddemo.processes import Schedule

POINTS = 101
TIMES = [k / (POINTS - 1) for k in range(POINTS)]
HEIGHT = TITLE + 320
MARGIN = {"l": 56, "r": 16, "t": TITLE + 10, "b": 48}


@cache
def alphas(schedule: Schedule) -> list[float]:
    """What has survived at each of `TIMES`."""
    return [schedule.alpha(t) for t in TIMES]


def survival_figure(
    schedule: Schedule, t: float, untouched: Sequence[float], others: Iterable[Schedule], colours: Colours
) -> Plain:
    """alpha(t) over t.

    Args:
        untouched: for each draw, the share of tokens that noise has not hit by time t.
        others: schedules to draw faintly behind it.
    """
    faint = {"line": {"color": colours.before, "width": 1}}
    lines = [line(TIMES, evenly(alphas(other)), other.name, colours.before, **faint) for other in others]
    curve = line(TIMES, evenly(alphas(schedule)), schedule.name, colours.now, "t = %{x:.2f}: %{y:.4f}")
    names = [f"draw {number}" for number in range(1, len(untouched) + 1)]
    hover = "%{text}: %{y:.3f} untouched"
    at = [t] * len(untouched)
    draws = marks(at, evenly(untouched), "draws", warm(colours), hover, "circle-open", text=names)
    here = marks([t], [schedule.alpha(t)], "expected", colours.now, "expected: %{y:.4f} untouched")
    axes = {
        "xaxis": {"title": titled("t", colours), "range": [-0.02, 1.02]},
        "yaxis": {"title": titled("share untouched (rings: draws)", colours), "range": [-0.03, 1.04]},
    }
    return plain(
        f"Untouched at t = {t:g}: expected {schedule.alpha(t):.3f}",
        [*lines, curve, draws, here],
        colours,
        HEIGHT,
        MARGIN,
        axes,
        showlegend=False,
        shapes=[upright(t, colours.muted)],
    )


def survival_words(schedule: Schedule, t: float, untouched: Sequence[float]) -> str:
    """The figure for those who do not see it."""
    draws = ", ".join(f"{share:.3f}" for share in untouched)
    return f"{schedule.name}: alpha({t:g}) = {schedule.alpha(t):.4f}; untouched in the draws: {draws}."


def survival_csv(schedule: Schedule) -> str:
    return csv_text(["t", "alpha"], zip(TIMES, alphas(schedule), strict=True))
