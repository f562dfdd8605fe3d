"""Bayes' rule for one token as bars, and what a belief about x_0 makes of it."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, bars, categories, legend, plain, titled, warm
from ddemo.processes.posteriors import Bayes

HEIGHT = TITLE + 330
MARGIN = {"l": 52, "r": 12, "t": TITLE + 34, "b": 40}
FACTORS = {
    "likelihood": "q(x_t | x_s)",
    "prior": "q(x_s | x_0)",
    "product": "product",
    "law": "q(x_s | x_t, x_0)",
}


def bayes_figure(found: Bayes, names: Sequence[str], title: str, colours: Colours) -> Plain:
    """Both factors, their product and the result, by x_s."""
    shades = (colours.before, colours.ramp[2], colours.ramp[3], colours.now)
    data = [
        bars(names, getattr(found, field), name, shade)
        for (field, name), shade in zip(FACTORS.items(), shades, strict=True)
    ]
    return _grouped(title, data, names, colours)


def belief_figure(laws: Mapping[str, Tensor], names: Sequence[str], title: str, colours: Colours) -> Plain:
    """p(x_s | x_t) by each of three ways to use a belief."""
    shades = (colours.now, colours.ramp[2], warm(colours))
    data = [bars(names, law, name, shade) for (name, law), shade in zip(laws.items(), shades, strict=True)]
    return _grouped(title, data, names, colours)


def _grouped(title: str, data: list[dict], names: Sequence[str], colours: Colours) -> Plain:
    axes = {
        "xaxis": categories(names) | {"title": titled("x_s", colours)},
        "yaxis": {"range": [0, 1.02], "title": titled("probability", colours)},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, barmode="group", **legend(colours))
