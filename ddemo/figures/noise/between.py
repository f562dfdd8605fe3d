"""Between two tokens: distances along DDIM's way through the embeddings, and the discrete process's two masses."""

from collections.abc import Mapping, Sequence

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, evenly, legend, line, marks, plain, titled, upright, warm

HEIGHT = TITLE + 340
MARGIN = {"l": 60, "r": 14, "t": TITLE + 36, "b": 48}


def distance_figure(
    alphas: Sequence[float],
    distances: Mapping[str, Sequence[float]],
    others: Sequence[str],
    at: float,
    here: Mapping[str, float],
    colours: Colours,
) -> Plain:
    """Distances from the point at signal share alpha: to the two tokens, and last to the nearest other one.

    Args:
        others: the name of the nearest other token at each alpha.
        at, here: the chosen alpha and the distances there.
    """
    looks = (("solid", colours.muted), ("solid", colours.now), ("dot", warm(colours)))
    data = []
    for (name, values), (dash, shade) in zip(distances.items(), looks, strict=True):
        is_other = dash == "dot"
        hover = "%{text}, %{y:.3f} away" if is_other else f"{name}: %{{y:.3f}}"
        look = {"line": {"color": shade, "dash": dash, "width": 2.5}, "text": list(others)}
        data.append(line(alphas, evenly(values), name, shade, hover, **look))
        data.append(marks([at], [here[name]], f"{name} here", shade, "%{y:.4f}", showlegend=False))
    axes = {
        "xaxis": {"title": titled("share of signal", colours), "range": [-0.02, 1.02]},
        "yaxis": {"title": titled("distance in the embeddings", colours), "rangemode": "tozero"},
    }
    title = f"DDIM's point at a signal share of {at:g}"
    shapes = [upright(at, colours.muted)]
    return plain(title, data, colours, HEIGHT, MARGIN, axes, shapes=shapes, **legend(colours))


def masses_figure(
    alphas: Sequence[float],
    masses: Mapping[str, Sequence[float]],
    at: float,
    here: Mapping[str, float],
    colours: Colours,
) -> Plain:
    """The probability of each of two tokens over alpha; no other has any."""
    data = []
    for (name, values), shade in zip(masses.items(), (colours.muted, colours.now), strict=True):
        data.append(line(alphas, evenly(values), name, shade, f"{name}: %{{y:.3f}}"))
        data.append(marks([at], [here[name]], f"{name} here", shade, "%{y:.4f}", showlegend=False))
    axes = {
        "xaxis": {"title": titled("alpha", colours), "range": [-0.02, 1.02]},
        "yaxis": {"title": titled("probability", colours), "range": [-0.03, 1.04]},
    }
    title = f"The discrete law at alpha = {at:g}"
    shapes = [upright(at, colours.muted)]
    return plain(title, data, colours, HEIGHT, MARGIN, axes, shapes=shapes, **legend(colours))
