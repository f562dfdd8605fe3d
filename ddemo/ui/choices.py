"""Gradio's choices for lists that depend on the visitor's checkpoint: what was chosen is checked where it is read.

The server has one list for all visitors, and would refuse what another checkpoint's list offers.
"""

from typing import Any

import gradio as gr


class FreeDropdown(gr.Dropdown):
    """A drop-down list whose value may be of any list that a handler has put in place of the first."""

    is_template = True  # shown as Gradio's own

    def preprocess(self, payload: Any) -> Any:
        return payload


class FreeRadio(gr.Radio):
    """The same as radio buttons."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class FreeSlider(gr.Slider):
    """A slider beside a number that may have been typed out of range: it is refused in words where it is read."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
