"""What samplers reach on an exact world: texts as bars beside the truth, and the distance from it over steps."""

from collections.abc import Mapping, Sequence

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, bars, evenly, legend, line, marks, plain, titled, upright, warm

HEIGHT = TITLE + 380
MARGIN = {"l": 60, "r": 16, "t": TITLE + 52, "b": 48}
LEAST = 1e-3  # total variation that the logarithmic axis begins with; less, and 0, is drawn there


def reached_figure(
    texts: Sequence[str], true: Sequence[float], reached: Sequence[float], title: str, colours: Colours
) -> Plain:
    """Probabilities of texts in the world and as reached, likeliest first."""
    data = [
        bars(texts, true, "true", colours.before) | _lying(texts, true, "true"),
        bars(texts, reached, "reached", colours.now) | _lying(texts, reached, "reached"),
    ]
    axes = {
        "xaxis": {"title": titled("probability", colours), "rangemode": "tozero"},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False, "automargin": True, "ticklen": 4},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, barmode="group", **legend(colours))


def _lying(texts: Sequence[str], values: Sequence[float], name: str) -> dict:
    hover = f"%{{y}}: %{{x:.5f}}<extra>{name}</extra>"
    return {"x": evenly(values, 7), "y": list(texts), "hovertemplate": hover, "orientation": "h"}


def distance_figure(
    steps: Sequence[int],
    distances: Mapping[str, Sequence[float]],
    chosen: str,
    at: int,
    here: float,
    colours: Colours,
) -> Plain:
    """Total variation from the truth over the number of steps, a line a sampler; the chosen one is marked.

    Up to four that draw have one colour, and up to four that take the argmax another; dashes tell them apart.
    """
    dashes = {by_argmax: iter(("solid", "dash", "dot", "dashdot")) for by_argmax in (False, True)}
    data = []
    for name, values in distances.items():
        by_argmax = "argmax" in name
        look = {
            "color": warm(colours) if by_argmax else colours.now,
            "dash": next(dashes[by_argmax]),
            "width": 3.5 if name == chosen else 1.8,
        }
        shown = [max(value, LEAST) for value in values]
        data.append(line(steps, shown, name, colours.now, f"{name}, %{{x}} steps: %{{y:.4g}}", line=look))
    data.append(marks([at], [max(here, LEAST)], "chosen", colours.ink, "%{x} steps: %{y:.4g}", showlegend=False))
    log = {"type": "log", "dtick": 1}
    axes = {
        "xaxis": {"type": "log", "title": titled("steps", colours), "tickvals": list(steps)},
        "yaxis": log | {"title": titled("total variation, 0.001 and less below", colours), "exponentformat": "power"},
    }
    title = "How far from the truth"
    shapes = [upright(at, colours.muted)]
    return plain(title, data, colours, HEIGHT, MARGIN, axes, shapes=shapes, **legend(colours))
