"""The law of a process over time with simulated paths on it, the share of them in one symbol, and flows."""

from collections.abc import Sequence

from torch import Tensor

from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import (
    Plain,
    categories,
    evenly,
    legend,
    line,
    marks,
    plain,
    scale,
    titled,
    upright,
    warm,
)
from ddemo.processes.gillespie import Path

HEIGHT = TITLE + 340
MARGIN = {"l": 56, "r": 16, "t": TITLE + 34, "b": 48}
MOST_DRAWN = 6  # paths
LANE = 0.7  # of a symbol's row, over which the paths in it are spread


def paths_figure(
    times: Sequence[float], laws: Tensor, paths: Sequence[Path], t: float, names: Sequence[str], colours: Colours
) -> Plain:
    """p_t of every symbol as colour over time, and the first paths as stairs on it.

    Args:
        laws: [len(times), K].
        paths: in the time of the axis.
    """
    law = {
        "type": "heatmap",
        "z": [evenly(row, 6) for row in laws.T.tolist()],
        "x": list(times),
        "y": list(range(len(names))),
        "zmin": 0.0,
        "zmax": 1.0,
        "colorscale": scale(colours),
        "showscale": False,
        "ygap": 2,
        "name": "p_t",
        "meta": "p_t",
        "text": [[name] * len(times) for name in names],
        "hovertemplate": "t = %{x:.2f}: %{text} with %{z:.4f}<extra></extra>",
    }
    drawn = paths[:MOST_DRAWN]
    thin = {"line": {"color": warm(colours), "width": 1.6, "shape": "hv"}, "opacity": 0.85}
    stairs = []
    for number, path in enumerate(drawn):
        x, y = [*path.times, times[-1]], [*path.states, path.states[-1]]
        inside = [at for at, time in enumerate(x) if time <= times[-1]]
        shift = LANE * ((number + 0.5) / len(drawn) - 0.5)
        height = [round(y[at] + shift, 4) for at in inside]
        stairs.append(line([round(x[at], 5) for at in inside], height, f"path {number + 1}", warm(colours), **thin))
    axes = {
        "xaxis": {"title": titled("t", colours), "range": [times[0], times[-1]], "showgrid": False},
        "yaxis": {
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": list(names),
            "range": [len(names) - 0.5, -0.5],
            "showgrid": False,
        },
    }
    title = f"p_t as colour, and {len(drawn)} {'path' if len(drawn) == 1 else 'paths'}" if drawn else "p_t as colour"
    margin, shapes = MARGIN | {"t": TITLE + 10}, [upright(t, colours.muted)]
    return plain(title, [law, *stairs], colours, HEIGHT, margin, axes, shapes=shapes, showlegend=False)


def share_figure(
    times: Sequence[float],
    exact: Tensor,
    solved: Tensor,
    share: Tensor | None,
    error: Tensor | None,
    t: float,
    name: str,
    colours: Colours,
) -> Plain:
    """One symbol's p_t by the exponential and by the equation, and the share of the paths that are in it.

    Args:
        exact, solved, share, error: [len(times)]; `error` is the standard error of a share.
    """
    data = []
    if share is not None:
        low, high = (exact - 2 * error).clamp(0.0, 1.0), (exact + 2 * error).clamp(0.0, 1.0)
        edge = {"line": {"width": 0}, "showlegend": False}
        band = {"line": {"width": 0}, "fill": "tonexty", "fillcolor": colours.before, "opacity": 0.5}
        data += [
            line(times, evenly(low), "low", colours.before, **edge),
            line(times, evenly(high), "two standard errors", colours.before, **band),
        ]
    data.append(line(times, evenly(exact), "exp(σR)", colours.now, "t = %{x:.2f}: %{y:.4f}"))
    if share is not None:
        stair = {"line": {"color": warm(colours), "width": 1.8, "shape": "hv"}}
        hover = "t = %{x:.2f}: %{y:.3f} of the paths"
        data.append(line(times, evenly(share), "paths", warm(colours), hover, **stair))
    tenth = list(range(0, len(times), 10))
    points = evenly(solved[tenth])
    dots = [times[at] for at in tenth]
    data.append(marks(dots, points, "Runge-Kutta", colours.ink, "t = %{x:.2f}: %{y:.4f}", "circle-open"))
    axes = {
        "xaxis": {"title": titled("t", colours), "range": [times[0] - 0.01, 1.0]},
        "yaxis": {"title": titled(f"probability of {name}", colours), "range": [-0.03, 1.04]},
    }
    shapes = [upright(t, colours.muted)]
    return plain(f"How likely is {name}", data, colours, HEIGHT, MARGIN, axes, shapes=shapes, **legend(colours))


def flow_figure(flows: Tensor, names: Sequence[str], t: float, colours: Colours) -> Plain:
    """Probability that moves between symbols per unit of t [K, K], from row to column."""
    cells = {
        "type": "heatmap",
        "z": [evenly(row, 6) for row in flows.tolist()],
        "x": list(names),
        "y": list(names),
        "zmin": 0.0,
        "zmax": max(float(flows.max()), 1e-9),
        "colorscale": scale(colours),
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "name": "flow",
        "meta": "flow",
        "texttemplate": "%{z:.3f}" if len(names) <= 6 else "",
        "hovertemplate": "from %{y} to %{x}: %{z:.5f} per unit of t<extra></extra>",
    }
    axis = categories(names)
    axes = {
        "xaxis": axis | {"title": titled("to", colours)},
        "yaxis": axis | {"title": titled("from", colours), "autorange": "reversed"},
    }
    title = f"Flows at t = {t:g}, per unit of t"
    return plain(title, [cells], colours, HEIGHT, MARGIN | {"t": TITLE + 10}, axes, showlegend=False)
