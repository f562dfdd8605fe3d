"""How figures look: colours for paper and page, type, and the manners that all share."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

TITLE = 30  # pixels of the margin that are the title's; a page that writes the title itself takes them away


@dataclass(frozen=True)
class Colours:
    """What a figure is drawn with; `ramp` goes from unlikely to likely, evenly in lightness."""

    paper: str
    ink: str
    muted: str
    line: str
    now: str
    before: str
    ramp: tuple[str, ...]


LIGHT = Colours(
    paper="#fffefb",
    ink="#23211d",
    muted="#66615a",
    line="#e2dccf",
    now="#1d4f8f",
    before="#d3ccbd",
    ramp=("#e8eef6", "#bdd3ec", "#83abd8", "#447ab6", "#143f70"),
)
DARK = Colours(
    paper="#201e1b",
    ink="#ebe6dc",
    muted="#aaa396",
    line="#3a362f",
    now="#93bbf0",
    before="#514b41",
    ramp=("#252d37", "#2b4565", "#3f6da3", "#72a3da", "#c9dff8"),
)
PAGE = Colours(  # the page's own, looked up where the figure is drawn, so that it follows the theme
    paper="var(--dd-surface)",
    ink="var(--dd-ink)",
    muted="var(--dd-muted)",
    line="var(--dd-line)",
    now="var(--dd-accent)",
    before="var(--dd-mask)",
    ramp=tuple(f"var(--ddc-sure-{level})" for level in range(5)),
)
SANS = '-apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", system-ui, sans-serif'


def dress(figure: go.Figure, title: str, colours: Colours, height: int, margin: dict) -> None:
    """Looks and behaviour: nothing zooms, so that a finger scrolls the page and no number is out of sight."""
    figure.update_layout(**layout(title, colours, height, margin))


def layout(title: str, colours: Colours, height: int, margin: dict) -> dict[str, Any]:
    """The layout that `dress` gives a figure."""
    axis = {
        "fixedrange": True,
        "zeroline": False,
        "ticks": "outside",  # unseen: they keep the labels from the axis
        "ticklen": 4,
        "tickcolor": "rgba(0,0,0,0)",
        "linecolor": colours.line,
        "tickfont": {"size": 13, "color": colours.ink},
        "title": {"font": {"size": 13, "color": colours.muted}},
    }
    return {
        "template": None,
        "title": {"text": title, "x": 0.01, "y": 0.975, "yanchor": "top", "font": {"size": 15, "color": colours.ink}},
        "font": {"family": SANS, "size": 13, "color": colours.ink},
        "paper_bgcolor": colours.paper,
        "plot_bgcolor": colours.paper,
        "height": height,
        "margin": margin,
        "hovermode": "closest",
        "dragmode": False,
        "hoverlabel": {"bgcolor": colours.ink, "font": {"color": colours.paper, "size": 14}, "align": "left"},
        "legend": {"font": {"size": 13, "color": colours.muted}, "itemclick": False, "itemdoubleclick": False},
        "xaxis": axis,
        "yaxis": axis,
    }
