"""Weights as they lie in a directory of safetensors: their names, shapes and numbers, checked on the way."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ddemo.errors import InputError

INDEX = "model.safetensors.index.json"

Shape = tuple[int, ...]


class LoadStopped(InputError):
    """Whoever asked for weights wants them no longer."""


def never() -> bool:
    return False


class Target(NamedTuple):
    """Where weights go.

    Attributes:
        stopped: whether whoever asked for them wants them no longer; asked before every tensor.
    """

    device: torch.device
    dtype: torch.dtype
    stopped: Callable[[], bool] = never

    def check(self, directory: Path) -> None:
        """Raises LoadStopped if they are wanted no longer."""
        if self.stopped():
            raise LoadStopped(f"Loading {directory.name} was stopped.")


def weight_files(directory: Path) -> list[Path]:
    """The files that hold the weights: those that the index names, else every .safetensors file.

    Raises:
        InputError: the index is unreadable, or names a file that is missing or lies elsewhere.
    """
    index = directory / INDEX
    if not index.is_file():
        return sorted(directory.glob("*.safetensors"))
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"The shard index of {directory.name} is damaged.") from None
    for name in names:
        plain = isinstance(name, str) and name.endswith(".safetensors") and not {*"/\\"} & {*name}
        if not plain:
            raise InputError(f"The shard index of {directory.name} names {str(name)[:80]!r}, which is no shard.")
        if not (directory / name).is_file():
            raise InputError(f"The weights of {directory.name} are incomplete: {name[:80]} is missing.")
    return sorted(directory / name for name in names)


def stored_shapes(directory: Path) -> dict[str, Shape]:
    """Name -> shape of every tensor, from the files' headers."""
    return {name: tuple(file.get_slice(name).get_shape()) for name, file in _entries(directory)}


def stored_tensors(directory: Path, wanted: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of these names, mapped into memory rather than read."""
    for name, file in _entries(directory):
        if name in wanted:
            yield name, file.get_tensor(name)


def _entries(directory: Path) -> Iterator[tuple[str, safe_open]]:
    """Each tensor's name and the open file that holds it."""
    paths = weight_files(directory)
    try:
        for path in paths:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                for name in names:
                    yield name, file
    except (SafetensorError, OSError, ValueError) as problem:  # their own messages hold paths
        raise InputError(f"The weights of {directory.name} cannot be read ({type(problem).__name__}).") from problem


def compare(directory: Path, expected: dict[str, Shape], stored: dict[str, Shape]) -> None:
    """Raise InputError unless exactly the expected tensors are stored, with their shapes."""
    if missing := sorted(set(expected) - set(stored)):
        raise InputError(f"The weights of {directory.name} are incomplete: {missing[0]} is missing.")
    for name, shape in expected.items():
        if stored[name] != shape:
            raise InputError(
                f"The weights of {directory.name} are damaged: {name} is {_by(stored[name])}, not {_by(shape)}."
            )
    if unknown := sorted(set(stored) - set(expected)):
        raise InputError(f"{directory.name} has weights that its family does not know, such as {unknown[0][:80]}.")


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def fitted(directory: Path, name: str, tensor: Tensor, target: Target) -> Tensor:
    """The tensor in its place and type: the stored one itself where it has both.

    Raises:
        InputError: it holds numbers that are not finite.
    """
    tensor = tensor.to(target.device, target.dtype)
    if not all(bool(end.isfinite()) for end in tensor.aminmax()):  # NaN goes through both, and nothing is copied
        raise InputError(f"The weights of {directory.name} are damaged: {name} holds numbers that are not finite.")
    return tensor


def filled(directory: Path, named: Mapping[str, str], target: Target) -> dict[str, Tensor]:
    """What a network's `load_state_dict` takes: its own names -> the tensors, in their place and type.

    Args:
        named: stored name -> the network's name, of all that it needs.

    Raises:
        LoadStopped: they are wanted no longer.
        InputError: a file cannot be read, or holds numbers that are not finite.
    """
    tensors = {}
    for name, tensor in stored_tensors(directory, named):
        target.check(directory)
        tensors[named[name]] = fitted(directory, named[name], tensor, target)
    return tensors
