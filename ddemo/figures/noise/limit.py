"""A softmax on its way to argmax: laws as bars, and what changes with the temperature as curves."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, bars, categories, legend, line, marks, plain, titled, upright, warm

HEIGHT = TITLE + 330
MARGIN = {"l": 60, "r": 14, "t": TITLE + 36, "b": 48}


def laws_figure(laws: Mapping[str, Tensor], names: Sequence[str], title: str, colours: Colours) -> Plain:
    """Up to three laws of one symbol as bars, the last in the second colour."""
    shades = (colours.before, colours.now, warm(colours))
    data = [bars(names, law, name, shade) for (name, law), shade in zip(laws.items(), shades, strict=True)]
    axes = {
        "xaxis": categories(names),
        "yaxis": {"range": [0, 1.02], "title": titled("probability", colours)},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, barmode="group", **legend(colours))


def over_temperature_figure(
    temperatures: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    at: float,
    here: Mapping[str, float],
    title: str,
    axis: str,
    colours: Colours,
    log: bool = False,
) -> Plain:
    """Curves over the temperature, on a logarithmic axis, with their values at the chosen one marked.

    Args:
        at: the chosen temperature; below the first of the axis it is marked there.
        here: curve -> its value at `at`; a curve without one is not marked.
        log: whether the upright axis is logarithmic too.
    """
    shown = min(max(at, temperatures[0]), temperatures[-1])
    shades = (colours.now, warm(colours), colours.muted)
    data = []
    for (name, values), shade in zip(curves.items(), shades, strict=False):
        data.append(line(temperatures, values, name, shade, f"{name}, T = %{{x:.3g}}: %{{y:.4g}}"))
        if name in here:
            hover = f"{name}, T = {at:g}: %{{y:.5g}}"
            data.append(marks([shown], [here[name]], f"{name} here", shade, hover, showlegend=False))
    up = {"type": "log", "exponentformat": "power", "dtick": 2} if log else {"range": [-0.03, 1.04]}
    axes = {
        "xaxis": {"type": "log", "dtick": 1, "title": titled("temperature T", colours)},
        "yaxis": up | {"title": titled(axis, colours) | {"standoff": 16}, "automargin": True},
    }
    shapes = [upright(shown, colours.muted)]
    return plain(title, data, colours, HEIGHT, MARGIN, axes, shapes=shapes, **legend(colours))
