"""The token canvas: one Gradio component around plain HTML, CSS and JavaScript files."""

from functools import cache
from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
MOUNT = """
mountTokenCanvas(element, {
  trigger, server, value: props.value, watch: (seen) => watch('value', () => seen(props.value)),
});
"""


@cache
def source(name: str) -> str:
    """One of the component's files, as text."""
    return (HERE / name).read_text(encoding="utf-8")


class TokenCanvas(gr.HTML):
    """Shows a run and takes edits of it; its value is one message (see `messages`) at a time.

    Events, each with its data in `gr.EventData`: `resume` {run, step, segment, cells}, `text` {text}.

    Args:
        value: the message to begin with.
        draft: server function (text, length) -> message, for text that is being typed.
        messages: server function (run, number) -> the run's messages from that number on.
    """

    def __init__(self, value: str = "", draft=None, messages=None, **kwargs):
        super().__init__(
            value,
            html_template=source("canvas.html"),
            js_on_load="\n".join([source("model.js"), source("sheet.js"), source("view.js"), MOUNT]),
            server_functions=[function for function in (draft, messages) if function],
            apply_default_css=False,
            **kwargs,
        )

    def postprocess(self, value: str | None) -> str | None:
        """The message as it is: it reaches the page as data, so markup in it needs no warning."""
        return value
