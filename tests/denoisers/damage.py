"""Damaging a checkpoint's files, and the one sentence with which it is refused then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError


def refused(directory: Path) -> str:
    """The sentence, which holds no path."""
    with pytest.raises(InputError) as caught:
        load_checkpoint(str(directory), device="cpu")
    message = str(caught.value)
    assert str(directory.parent) not in message
    assert "\n" not in message and len(message) < 300 and message.endswith(".")
    return message


def change_config(directory: Path, **changes: Any) -> None:
    """Other values for some settings of config.json."""
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(directory: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """What `change` does to the tensors by their names, in a checkpoint of one file."""
    file = directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
