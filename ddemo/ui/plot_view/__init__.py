"""A plotly figure on the page, with files to take away: one Gradio component around HTML, CSS and JavaScript files.

`gr.Plot` hands on no click and no SVG; this does, and loads plotly's own JavaScript from the plotly package, for
which the server needs `route`.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import gradio as gr
import plotly
from plotly.graph_objects import Figure
from starlette.responses import FileResponse
from starlette.routing import Route

from ddemo.figures.look import TITLE
from ddemo.figures.noise.plain import Plain

HERE = Path(__file__).parent
LIBRARY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
MOUNT = """
mountPlotView(element, {
  trigger, value: props.value, watch: (seen) => watch('value', () => seen(props.value)), library: %s,
});
"""


@cache
def address() -> str:
    """Where plotly.js is on the server, from the page's root: named by its content, so that browsers may keep it."""
    return f"ddemo/plotly-{hashlib.sha256(LIBRARY.read_bytes()).hexdigest()[:12]}.js"


def route() -> Route:
    """What serves it; the server must have it. Gradio's own address of a file tells where packages are installed."""
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}

    def library(request) -> FileResponse:
        return FileResponse(LIBRARY, media_type="text/javascript", headers=kept)

    return Route(f"/{address()}", library)


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


def figure_message(figure: Figure | Plain, name: str, summary: str, csv: str = "") -> str:
    """The value of a `PlotView` that shows a figure.

    Args:
        figure: its colours may be the page's ("var(--dd-ink)"); its title becomes the heading.
        name: of the files that are taken away, without an ending.
        summary: what the figure says, in words, for those who do not see it.
        csv: the numbers in it, as a file; without them none is offered.
    """
    title = figure.title if isinstance(figure, Plain) else figure.layout.title.text or ""
    head = {"title": title, "titleHeight": TITLE, "name": name, "summary": summary}
    return f'{{"figure":{figure.to_json()},{json.dumps(head | {"csv": csv}, ensure_ascii=False)[1:]}'


def sentence_message(text: str) -> str:
    """The value of a `PlotView` that has no figure to show, and says why."""
    return json.dumps({"say": text}, ensure_ascii=False)


class PlotView(gr.HTML):
    """Shows a plotly figure; its value is made by `figure_message` or `sentence_message`.

    Event: `pick` {meta, index, x, y} in `gr.EventData`, for a mark that was clicked: its trace's `meta`, its place
    in the trace (row and column in a heatmap) and its coordinates. Its style sheet is `source("plot.css")`, which
    needs the palette of the token canvas.
    """

    def __init__(self, value: str = "", **kwargs):
        super().__init__(
            value,
            html_template=source("plot.html"),
            js_on_load=source("plot.js") + MOUNT % json.dumps(address()),
            apply_default_css=False,
            **kwargs,
        )

    def postprocess(self, value: str | None) -> str | None:
        """The message as it is: it reaches the page as data, so markup in it needs no warning."""
        return value
