"""Plotly figures as plain data: a slider wants its figure at once, and plotly's own objects check every number.

Tests check the figures once, by making plotly's objects of them.
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

from ddemo.figures.look import Colours, layout

LETTERS = string.ascii_lowercase + string.ascii_uppercase
MASK = "mask"


@dataclass(frozen=True)
class Plain:
    """A figure.

    Attributes:
        title: its heading.
        data: traces, as plotly's JSON has them.
        layout: the same of the layout.
    """

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]

    def to_json(self) -> str:
        return to_json_plotly({"data": self.data, "layout": self.layout})

    def figure(self) -> go.Figure:
        """As plotly's object, which refuses what plotly does not know."""
        return go.Figure(self.data, self.layout)


def plain(
    title: str,
    data: list[dict[str, Any]],
    colours: Colours,
    height: int,
    margin: Mapping[str, Any],
    axes: Mapping[str, Mapping[str, Any]],
    **more: Any,
) -> Plain:
    """A figure that looks like the others of the page.

    Args:
        axes: axis -> what it has besides a faint grid.
        more: of the layout.
    """
    look = layout(title, colours, height, dict(margin)) | more
    for name, own in axes.items():
        look[name] = {**grid(colours), **own}
    return Plain(title, data, look)


def grid(colours: Colours) -> dict[str, Any]:
    """An axis with faint lines, which does not zoom."""
    return {
        "gridcolor": colours.line,
        "linecolor": colours.line,
        "fixedrange": True,
        "zeroline": False,
        "tickfont": {"size": 13, "color": colours.muted},
    }


def titled(text: str, colours: Colours) -> dict[str, Any]:
    """The title of an axis."""
    return {"text": text, "font": {"size": 13, "color": colours.muted}}


def warm(colours: Colours) -> str:
    """The second colour of a figure, for what is no probability of the truth: draws, argmax, discrete steps."""
    return "var(--dd-halo)" if "var(" in colours.now else "#b45309"


def scale(colours: Colours) -> list[list[Any]]:
    """A colour scale of probabilities, from unlikely to likely."""
    last = len(colours.ramp) - 1
    return [[at / last, colour] for at, colour in enumerate(colours.ramp)]


def symbols(size: int, mask: bool) -> list[str]:
    """How K symbols are called: a, b, c and so on; the last is the mask where there is one."""
    return [*LETTERS[: size - 1], MASK if mask else LETTERS[size - 1]]


def upright(at: float, colour: str) -> dict[str, Any]:
    """A dotted vertical line."""
    line = {"color": colour, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def evenly(values: Sequence[float], digits: int = 6) -> list[float]:
    """Numbers for a figure, of so many digits after the point."""
    return [round(float(value), digits) for value in values]


def line(x: Sequence, y: Sequence[float], name: str, colour: str, hover: str = "", **more: Any) -> dict[str, Any]:
    """A line; `name` is in the legend and in the trace's meta, without `hover` the pointer does not feel it."""
    told = {"hovertemplate": f"{hover}<extra></extra>"} if hover else {"hoverinfo": "skip"}
    look = {"line": {"color": colour, "width": 2.5}}
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), **_named(name), **told, **look} | more


def marks(
    x: Sequence, y: Sequence[float], name: str, colour: str, hover: str, symbol: str = "diamond", **more: Any
) -> dict[str, Any]:
    """Points."""
    marker = {"size": 10, "symbol": symbol, "color": colour, "line": {"width": 2 if "open" in symbol else 0}}
    told = {"hovertemplate": f"{hover}<extra></extra>", "marker": marker}
    return {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), **_named(name), **told} | more


def bars(x: Sequence, y: Sequence[float], name: str, colour: str, **more: Any) -> dict[str, Any]:
    """Upright bars of probabilities."""
    told = {"hovertemplate": f"%{{x}}: %{{y:.5f}}<extra>{name}</extra>", "marker": {"color": colour}}
    return {"type": "bar", "x": list(x), "y": evenly(y, 7), **_named(name), **told} | more


def _named(name: str) -> dict[str, str]:
    return {"name": name, "meta": name}


def legend(colours: Colours) -> dict[str, Any]:
    """Of the layout: a legend in one line over the figure."""
    text = {"size": 13, "color": colours.muted}
    place = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    still = {"itemclick": False, "itemdoubleclick": False}
    return {"legend": {"font": text} | place | still, "showlegend": True}


def categories(names: Sequence[str]) -> dict[str, Any]:
    """An axis of symbols: up to a dozen have their names written, of more as many as there is room for."""
    written = {"tickmode": "array", "tickvals": list(names)} if len(names) <= 12 else {}
    return {"type": "category", "showgrid": False} | written
