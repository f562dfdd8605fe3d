"""Heatmap and curves of the run on show: one Gradio component around plain HTML, CSS and JavaScript files."""

from functools import cache
from pathlib import Path

import gradio as gr

from ddemo.ui.token_canvas import source as canvas_source

HERE = Path(__file__).parent
MOUNT = "mountRunCharts(element, {exact: true});"


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class RunCharts(gr.HTML):
    """Shows the run that a token canvas on the same page shows, as it comes.

    It has no value: the canvas tells the page what it shows by the event `ddemo:shown`, and a cell that is
    clicked asks the canvas to go there by `ddemo:goto`. Its style sheet is `source("charts.css")`, which needs
    the palette of the token canvas.
    """

    def __init__(self, **kwargs):
        super().__init__(
            "",
            html_template=source("charts.html"),
            js_on_load="\n".join([canvas_source("model.js"), source("series.js"), source("charts.js"), MOUNT]),
            apply_default_css=False,
            **kwargs,
        )
