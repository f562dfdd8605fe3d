"""A view of the lab and its settings as the end of an address: #lab=forward&t=0.35&schedule=cosine."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ddemo.errors import InputError
from ddemo.permalink import LONGEST, check_characters, pairs_of
from ddemo.sampling.config import quoted
from ddemo.ui.lab.view import View

START = "#lab="


def fragment_of(view: View, values: Mapping[str, Any], checkpoint: str) -> str:
    """The link of a view, with the settings that differ from where it starts; "" where that is too long for one."""
    pairs = {"lab": view.name} | ({"checkpoint": checkpoint} if view.of_checkpoint else {})
    for setting in view.settings:
        if values[setting.name] != setting.default:
            pairs[setting.name] = _said(values[setting.name])
    fragment = "#" + "&".join(f"{name}={quote(said, safe='@,.!')}" for name, said in pairs.items())
    return fragment if len(fragment) <= LONGEST else ""


def _said(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def read_fragment(fragment: Any, views: Mapping[str, View]) -> tuple[View, dict[str, Any], str]:
    """The view that a link names, all its settings, and the checkpoint or ""; it comes from anybody.

    Raises:
        InputError: one sentence that says what is wrong with it.
    """
    if not isinstance(fragment, str) or not fragment.startswith(START):
        raise InputError("This link describes no view of the noise lab.")
    if len(fragment) > LONGEST:
        raise InputError(f"This link is too long to be read ({len(fragment):,} of {LONGEST:,} characters).")
    pairs = pairs_of(fragment[1:])
    name, checkpoint = pairs.pop("lab"), pairs.pop("checkpoint", "")
    if name not in views:
        raise InputError(f"The noise lab has no view called {quoted(name)}.")
    check_characters(checkpoint)
    view = views[name]
    values = {setting.name: setting.default for setting in view.settings}
    if unknown := [name for name in pairs if name not in values]:
        raise InputError(f"This link has a setting that is not known here: {quoted(unknown[0])}.")
    for setting in view.settings:
        if setting.name in pairs:
            values[setting.name] = setting.parsed(pairs[setting.name])
    return view, values, checkpoint
