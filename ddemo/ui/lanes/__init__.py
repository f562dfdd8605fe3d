"""Lanes side by side: one Gradio component around plain HTML, CSS and JavaScript files."""

from functools import cache
from pathlib import Path

import gradio as gr

from ddemo.ui.token_canvas import source as canvas_source

HERE = Path(__file__).parent
MOUNT = """
mountLanes(element, {
  server, value: props.value, watch: (seen) => watch('value', () => seen(props.value)),
});
"""


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class LaneView(gr.HTML):
    """Shows lanes over one canvas and what was measured of them; its value is one message (see `messages`) at a time.

    Its style sheet is `source("lanes.css")`, which needs those of the token canvas.

    Args:
        value: the message to begin with.
        messages: server function (run, number) -> the comparison's messages from that number on.
    """

    def __init__(self, value: str = "", messages=None, **kwargs):
        canvas = [canvas_source("model.js"), canvas_source("sheet.js")]
        super().__init__(
            value,
            html_template=source("lanes.html"),
            js_on_load="\n".join([*canvas, source("model.js"), source("view.js"), MOUNT]),
            server_functions=[messages] if messages else [],
            apply_default_css=False,
            **kwargs,
        )

    def postprocess(self, value: str | None) -> str | None:
        """The message as it is: it reaches the page as data, so markup in it needs no warning."""
        return value
