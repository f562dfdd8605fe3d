"""A steps ladder as a plotly figure, in words and as a table."""

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ddemo.compare.findings import ladder_findings, with_error
from ddemo.compare.ladder import Ladder, Rung
from ddemo.figures.look import TITLE, Colours, dress
from ddemo.figures.tables import csv_text
from ddemo.measures import Value

PANELS = {  # measure -> title of its axis
    "bits_per_character": "bits a character (own bound)",
    "perplexity": "judge perplexity",
    "repetition": "four-word runs repeated",
}
GROUPS = {"samples": ("sampling", "circle", "solid"), "argmax": ("argmax", "diamond", "dot")}
SHOWN = ("bits_per_character", "perplexity", "repetition", "nfe", "seconds")
HEIGHT = 360  # pixels
MARGIN = {"l": 64, "r": 16, "t": TITLE + 40, "b": 52}


def ladder_figure(ladder: Ladder, colours: Colours) -> go.Figure:
    """Quality against denoiser calls, a panel a measure; bars are standard errors over the texts.

    A measure that no rung has is left out. Colour, shape and line each tell sampling from argmax.
    """
    panels = [name for name in PANELS if any(_known(ladder, group, name) for group in GROUPS)]
    figure = make_subplots(cols=max(1, len(panels)), horizontal_spacing=0.09)
    for column, name in enumerate(panels, start=1):
        for group in GROUPS:
            if rungs := _known(ladder, group, name):
                figure.add_trace(_line(rungs, group, name, colours, named=column == 1), row=1, col=column)
        figure.update_yaxes(title_text=PANELS[name], col=column, rangemode="tozero")
    calls = sorted({round(rung.groups["samples"]["nfe"].number) for rung in ladder.rungs})
    dress(figure, "Quality against denoiser calls", colours, HEIGHT, MARGIN)
    grid = {"gridcolor": colours.line, "linecolor": colours.line, "fixedrange": True, "zeroline": False}
    grid |= {"tickfont": {"size": 13, "color": colours.muted}, "title_font": {"size": 13, "color": colours.muted}}
    figure.update_xaxes(
        type="log", tickvals=calls, ticktext=list(map(str, calls)), title_text="denoiser calls", **grid
    )
    figure.update_yaxes(**grid)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, hovermode="x unified")
    return figure


def _line(rungs: list[Rung], group: str, name: str, colours: Colours, named: bool) -> go.Scatter:
    title, symbol, dash = GROUPS[group]
    values = [rung.groups[group][name] for rung in rungs]
    colour = colours.now if group == "samples" else "var(--dd-halo)" if "var(" in colours.now else "#b45309"
    return go.Scatter(
        x=np.array([rung.groups[group]["nfe"].number for rung in rungs]),
        y=np.array([value.number for value in values]),
        error_y={"array": np.array([value.error or 0.0 for value in values]), "thickness": 1.5, "width": 5},
        mode="lines+markers",
        name=title,
        legendgroup=group,
        showlegend=named,
        line={"color": colour, "dash": dash, "width": 2},
        marker={"symbol": symbol, "size": 9},
        text=[with_error(value) for value in values],
        hovertemplate="%{text}",
    )


def _known(ladder: Ladder, group: str, name: str) -> list[Rung]:
    return [rung for rung in ladder.rungs if rung.groups[group][name].number is not None]


def ladder_words(ladder: Ladder) -> str:
    """The figure for those who do not see it."""
    return " ".join(["Quality against denoiser calls.", *ladder_findings(ladder.rungs)])


def ladder_rows(ladder: Ladder) -> Iterator[tuple[int, str, dict[str, Value]]]:
    """Steps, group and the measures of `SHOWN`, one row a group of a rung."""
    for rung in ladder.rungs:
        for group, values in rung.groups.items():
            yield rung.steps, group, {name: values[name] for name in SHOWN}


def ladder_csv(ladder: Ladder) -> str:
    """The table as a file: a number and its standard error a measure, empty where there is none."""
    header = ["steps", "group", *(column for name in SHOWN for column in (name, f"{name}_stderr"))]
    rows = (
        [steps, group, *(number for value in values.values() for number in (value.number, value.error))]
        for steps, group, values in ladder_rows(ladder)
    )
    return csv_text(header, rows)
