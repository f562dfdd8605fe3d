"""Transition matrices as heatmaps, one row of them as bars, and how far discrete steps are from continuous time."""

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
    marks,
    plain,
    scale,
    titled,
    upright,
    warm,
)
from ddemo.figures.tables import csv_text

SIDE = 400  # pixels of a heatmap
MARGIN = {"l": 52, "r": 12, "t": TITLE + 30, "b": 44}
ROW_HEIGHT = TITLE + 320


def matrix_figure(one: Tensor, many: Tensor, names: Sequence[str], row: int, title: str, colours: Colours) -> Plain:
    """Q_t beside Q_bar_t [K, K], row `row` framed; colour is probability from 0 to 1."""
    axis = categories(names)
    down = axis | {"autorange": "reversed"}
    axes = {
        "xaxis": axis | {"domain": [0.0, 0.46], "title": titled("to", colours)},
        "yaxis": down | {"title": titled("from", colours)},
        "xaxis2": axis | {"domain": [0.54, 1.0], "anchor": "y2", "title": titled("to", colours)},
        "yaxis2": down | {"anchor": "x2", "showticklabels": False},
    }
    frames = [_frame(axis, row, len(names), warm(colours)) for axis in ("", "2")]
    heads = [_head("Q<sub>t</sub>, one step", 0.0), _head("Q̄<sub>t</sub>, all steps until t", 0.54)]
    data = [_heatmap(one, names, "Q_t", "", colours), _heatmap(many, names, "Q_bar_t", "2", colours)]
    return plain(title, data, colours, SIDE + TITLE, MARGIN, axes, shapes=frames, annotations=heads)


def _heatmap(matrix: Tensor, names: Sequence[str], name: str, axis: str, colours: Colours) -> dict:
    return {
        "type": "heatmap",
        "z": [evenly(row, 7) for row in matrix.tolist()],
        "x": list(names),
        "y": list(names),
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "zmin": 0.0,
        "zmax": 1.0,
        "colorscale": scale(colours),
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "name": name,
        "meta": name,
        "hovertemplate": "from %{y} to %{x}: %{z:.5f}<extra></extra>",
    }


def _frame(axis: str, row: int, size: int, colour: str) -> dict:
    corners = {"x0": -0.5, "x1": size - 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", "xref": f"x{axis}", "yref": f"y{axis}", "line": {"color": colour, "width": 2}} | corners


def _head(text: str, x: float) -> dict:
    place = {"x": x, "y": 1.0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return place | {"text": text, "showarrow": False, "font": {"size": 14}}


def row_figure(
    one: Tensor, many: Tensor, stationary: Tensor | None, names: Sequence[str], row: int, colours: Colours
) -> Plain:
    """Row `row` of both matrices as bars, and the stationary law, if there is one, as marks."""
    data = [
        bars(names, one[row], "one step", colours.before),
        bars(names, many[row], "all steps", colours.now),
    ]
    if stationary is not None:
        data.append(marks(names, evenly(stationary, 7), "stationary", warm(colours), "%{x}: %{y:.5f} in the end"))
    axes = {
        "xaxis": categories(names),
        "yaxis": {"range": [0, 1.02], "title": titled("probability", colours)},
    }
    return plain(
        f"Where {names[row]} goes", data, colours, ROW_HEIGHT, MARGIN, axes, barmode="group", **legend(colours)
    )


def gap_figure(steps: Sequence[int], gaps: Sequence[float], chosen: int, gap: float, colours: Colours) -> Plain:
    """The largest distance of a row of N discrete steps from the same row of exp(sigma R), over N."""
    curve = line(steps, gaps, "gaps", colours.now, "%{x} steps: %{y:.3g}", mode="lines+markers")
    here = marks([chosen], [gap], "gap", warm(colours), "%{x} steps: %{y:.4g}")
    power = {"type": "log", "exponentformat": "power", "dtick": 1}
    axes = {
        "xaxis": {"type": "log", "title": titled("N, discrete steps", colours), "dtick": 1},
        "yaxis": power | {"title": titled("largest gap of a row", colours)},
    }
    title = f"{chosen} discrete {'step is' if chosen == 1 else 'steps are'} {gap:.3g} from exp(σR)"
    shapes = [upright(chosen, colours.muted)]
    return plain(title, [curve, here], colours, ROW_HEIGHT, MARGIN, axes, showlegend=False, shapes=shapes)


def matrix_csv(one: Tensor, many: Tensor, names: Sequence[str]) -> str:
    """Every cell of both: from, to, Q_t, Q_bar_t."""
    rows = zip(names, one.tolist(), many.tolist(), strict=True)
    cells = ([start, end, p, q] for start, ps, qs in rows for end, p, q in zip(names, ps, qs, strict=True))
    return csv_text(["from", "to", "Q_t", "Q_bar_t"], cells)
