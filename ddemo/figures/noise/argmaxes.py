"""Why the literal argmax waits: staying a mask against the likeliest word, step by step, and one law as bars."""

from collections.abc import Sequence

from torch import Tensor

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import (
    Plain,
    bars,
    categories,
    evenly,
    legend,
    line,
    plain,
    titled,
    upright,
    warm,
)

HEIGHT = TITLE + 320
MARGIN = {"l": 56, "r": 16, "t": TITLE + 34, "b": 48}


def duel_figure(stay: Sequence[float], best: Sequence[float], step: int, title: str, colours: Colours) -> Plain:
    """For every step: the probability that a mask stays, and the largest that any word has at any mask."""
    steps = list(range(1, len(stay) + 1))
    dots = {"mode": "lines+markers"}
    data = [
        line(steps, evenly(stay), "stays a mask", colours.now, "step %{x}: stays with %{y:.4f}", **dots),
        line(steps, evenly(best), "likeliest word", warm(colours), "step %{x}: the word with %{y:.4f}", **dots),
    ]
    axes = {
        "xaxis": {"title": titled("step", colours), "rangemode": "tozero"},
        "yaxis": {"title": titled("probability in p(x_s | x_t)", colours), "range": [-0.02, 1.04]},
    }
    shapes = [upright(step, colours.muted)]
    return plain(title, data, colours, HEIGHT, MARGIN, axes, shapes=shapes, **legend(colours))


def law_figure(mean: Tensor, plug_in: Tensor, names: Sequence[str], title: str, colours: Colours) -> Plain:
    """p(x_s | x_t) at one place, from the whole belief and from its argmax alone."""
    data = [bars(names, mean, "p(x_s | x_t)", colours.now), bars(names, plug_in, "plug-in", warm(colours))]
    axes = {
        "xaxis": categories(names),
        "yaxis": {"range": [0, 1.02], "title": titled("probability", colours)},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, barmode="group", **legend(colours))
