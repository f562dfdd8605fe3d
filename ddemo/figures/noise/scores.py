"""Concrete scores as bars, and one reverse step by three ways, as far below zero as a step may go."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, bars, categories, legend, line, plain, titled, upright, warm

HEIGHT = TITLE + 330
MARGIN = {"l": 56, "r": 12, "t": TITLE + 34, "b": 44}


def score_figure(scores: Tensor, marginal: Tensor, names: Sequence[str], title: str, colours: Colours) -> Plain:
    """p_t(y) and p_t(y) / p_t(x_t), by y."""
    data = [bars(names, marginal, "p_t(y)", colours.before), bars(names, scores, "score", colours.now)]
    axes = {
        "xaxis": categories(names) | {"title": titled("y", colours)},
        "yaxis": {"rangemode": "tozero", "title": titled("probability, and ratio", colours)},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, barmode="group", **legend(colours))


def step_figure(ways: Mapping[str, Tensor], names: Sequence[str], title: str, colours: Colours) -> Plain:
    """What each way would draw x_s from; bars below zero are no probabilities."""
    shades = (warm(colours), colours.ramp[2], colours.now)
    data = [bars(names, entries, name, shade) for (name, entries), shade in zip(ways.items(), shades, strict=True)]
    axes = {
        "xaxis": categories(names) | {"title": titled("x_s", colours)},
        "yaxis": {"title": titled("probability", colours), "zeroline": True, "zerolinecolor": colours.muted},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, barmode="group", **legend(colours))


def error_figure(
    strides: Sequence[float], errors: Sequence[float], dt: float, longest: float, colours: Colours
) -> Plain:
    """Total variation of the Euler step from the exact one over its length; beyond `longest` it is no law."""
    curve = line(strides, errors, "error", colours.now, "dt = %{x:.3f}: %{y:.4f}")
    shapes = [upright(dt, colours.muted)]
    if strides and longest < strides[-1]:
        beyond = {"x0": longest, "x1": strides[-1], "y0": 0, "y1": 1, "yref": "paper", "line": {"width": 0}}
        shapes.append({"type": "rect", "fillcolor": warm(colours), "opacity": 0.14, "layer": "below"} | beyond)
    axes = {
        "xaxis": {"title": titled("dt; shaded: an entry is negative", colours)},
        "yaxis": {"rangemode": "tozero", "title": titled("distance from the exact step", colours)},
    }
    title = "What a larger dt costs the Euler step"
    return plain(title, [curve], colours, HEIGHT, MARGIN, axes, shapes=shapes, showlegend=False)
