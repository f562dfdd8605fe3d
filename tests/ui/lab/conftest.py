"""What the tests of the lab's views share: a checkpoint's codec, and a reader of what a view answers."""

import json
from types import SimpleNamespace

import plotly.graph_objects as go
import pytest

from ddemo.ui.lab.view import View


@pytest.fixture(scope="session")
def resident(tiny) -> SimpleNamespace:
    """As much of a `Resident` as views read before the weights are there."""
    return SimpleNamespace(id=tiny.id, codec=tiny.codec, max_length=tiny.denoiser.max_length, process="absorbing")


@pytest.fixture
def ask(resident):
    """ask(view, **settings): what the view answers where it starts, but for these settings; figures are checked."""

    def ask(view: View, **settings) -> dict:
        held = [settings.pop(setting.name, setting.default) for setting in view.settings]
        assert not settings, f"unknown: {settings}"
        found = {name: read(value) for name, value in view.answer(view.values(held), resident).items()}
        assert set(found) >= {part.name for part in view.parts}
        for part in view.parts:
            if part.kind == "plot" and "figure" in found[part.name]:
                figure = found[part.name]["figure"]
                go.Figure(_without_page_colours(figure["data"]), _without_page_colours(figure["layout"]))
        return found

    return ask


def read(value):
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def _without_page_colours(part):
    """The page's colour names are no colours for plotly."""
    if isinstance(part, dict):
        return {name: _without_page_colours(item) for name, item in part.items()}
    if isinstance(part, list):
        return [_without_page_colours(item) for item in part]
    return "#000000" if isinstance(part, str) and part.startswith("var(") else part
