"""A checkpoint's config.json: read as a table of settings, whose sizes are checked where they are used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddemo.errors import InputError


def read_config(directory: Path) -> dict[str, Any]:
    """The content of config.json. Raises InputError where it is missing, unreadable, or no table."""
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{directory.name} is not a checkpoint: its config.json is missing or unreadable.") from None
    if not isinstance(config, dict):
        raise InputError(f"{directory.name} is not a checkpoint: its config.json is not a table of settings.")
    return config


def whole(directory: Path, config: Mapping[str, Any], key: str) -> int:
    """A setting that has to be a whole number of 1 or more. Raises InputError where it is none."""
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise InputError(f"The config.json of {directory.name} is damaged: its {key} is not a number of 1 or more.")
    return value
