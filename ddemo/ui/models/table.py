"""What the Models tab lists: the checkpoints that the page has, and those of the catalog."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load
from yaml import YAMLError

from ddemo.compare.questions import NOISE
from ddemo.denoisers import hub
from ddemo.denoisers.catalog import Entry, catalog
from ddemo.denoisers.fit import Size, Use, fit, free_memory, in_bytes, size_of_directory
from ddemo.denoisers.loading import (
    SHIPPED,
    cached_checkpoint,
    canvas_limit_of,
    family_of,
    fit_of,
    pick_device,
    pick_dtype,
    process_of,
)
from ddemo.errors import InputError
from ddemo.ui.chosen import tries_of
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf

ROW = ("id", "group", "where", "noise", "family", "parameters", "bytes", "context", "licence", "memory", "try")
UNKNOWN = ""  # what no public page states
SMALL = 1_000_000  # bytes
ON_DISK, ON_THE_HUB, GONE = "on disk", "on the Hub", "no longer there"


def rows(shelf: Shelf) -> list[dict[str, str]]:
    """A record of `ROW` for each checkpoint, all of them words: this page's first, then the rest of the catalog.

    On a public page the first alone, without a word on this machine's memory.
    """
    there = [row_of_resident(shelf, resident) for resident in shelf]
    if shelf.public:
        return there
    return there + [row_of_entry(shelf, entry) for entry in catalog().values() if entry.id not in shelf]


def row_of_resident(shelf: Shelf, resident: Resident) -> dict[str, str]:
    """The row of one that the page offers."""
    entry = catalog().get(resident.id)
    try:
        told = row_of_directory(shelf, resident.directory)
    except InputError:  # it was taken away since it was listed, which the others must not suffer for
        told = dict.fromkeys(ROW, UNKNOWN) | {"noise": NOISE[resident.process]}
    told |= {"id": resident.id, "group": "here", "where": where(resident)}
    if shelf.public or resident.loaded:
        told["memory"] = ""
    if not entry:
        told["try"] = f"{', '.join(item.title for item in tries_of(resident))}."
    return told


def row_of_directory(shelf: Shelf, directory: Path) -> dict[str, str]:
    """The row of one that is on disk, with what the catalog says of it where it is from the Hub.

    Raises:
        InputError: it cannot be read.
    """
    name = hub.id_of(directory)
    entry = catalog().get(name)
    size, stored = _size(directory)
    return {
        "id": name,
        "group": "named",
        "where": ON_DISK,
        "noise": NOISE[process_of(directory)],
        "family": entry.family if entry else family_of(directory).removeprefix("ddemo_").replace("_", "-"),
        "parameters": in_words(size.numbers),
        "bytes": in_bytes(stored) if stored > SMALL else f"under {in_bytes(SMALL)}",
        "context": f"{canvas_limit_of(directory):,}",
        "licence": (entry.licence if entry else None) or _licence_in_card(directory),
        "memory": "" if shelf.public else _verdict_on_disk(shelf, directory),
        "try": entry.try_ if entry else "",
    }


def row_of_entry(shelf: Shelf, entry: Entry) -> dict[str, str]:
    """The row of one of the catalog that the page does not offer yet."""
    directory = cached_checkpoint(entry.id)
    return {
        "id": entry.id,
        "group": "catalog",
        "where": ON_DISK if directory else ON_THE_HUB,
        "noise": NOISE[entry.process],
        "family": entry.family,
        "parameters": in_words(entry.parameters),
        "bytes": in_bytes(entry.bytes) if entry.bytes else UNKNOWN,
        "context": f"{entry.context:,}" if entry.context else UNKNOWN,
        "licence": entry.licence or UNKNOWN,
        "memory": _verdict_on_disk(shelf, directory) if directory else verdict_of_entry(shelf, entry),
        "try": entry.try_,
    }


def _licence_in_card(directory: Path) -> str:
    """What the card beside the weights says, if there is one that can be read."""
    try:
        told = metadata_load(directory / "README.md")
    except (OSError, ValueError, YAMLError):
        return UNKNOWN
    licence = told.get("license") if isinstance(told, dict) else None
    return licence if isinstance(licence, str) else UNKNOWN


def where(resident: Resident) -> str:
    """Where the weights of one that is offered are."""
    if resident.loaded:
        return "loaded"
    if not resident.directory.is_dir():
        return GONE
    return "shipped" if resident.directory.parent == SHIPPED else ON_DISK


def usual_use(shelf: Shelf, **instead: Any) -> Use:
    """What estimates are made for where nobody says otherwise: an ordinary visit, in the type that the page loads."""
    dtype = str(pick_dtype(shelf.dtype, pick_device(shelf.device))).removeprefix("torch.")
    return Use(**{"dtype": dtype} | instead)


def verdict_of_entry(shelf: Shelf, entry: Entry) -> str:
    """Whether the weights alone fit; UNKNOWN where what is stated of their size cannot tell."""
    free, use = free_memory(pick_device(shelf.device)), usual_use(shelf)
    verdicts = {fit(Size(numbers), use, free).verdict for numbers in _numbers(entry)}
    return verdicts.pop() if len(verdicts) == 1 else UNKNOWN


def _numbers(entry: Entry) -> Iterator[int]:
    """How many numbers its weights are, or the least and the most that its bytes can hold."""
    if entry.parameters:
        yield entry.parameters
    elif entry.bytes:
        yield from (entry.bytes // 4, entry.bytes // 2)


def _verdict_on_disk(shelf: Shelf, directory: Path) -> str:
    place, use = pick_device(shelf.device), usual_use(shelf)
    try:
        return fit_of(directory, place, pick_dtype(use.dtype, place), use.length, use.lanes).verdict
    except InputError:
        return UNKNOWN


@cache
def _size(directory: Path) -> tuple[Size, int]:
    """The size of a checkpoint on disk, and the bytes of its weights there."""
    files = directory.glob("*.safetensors")
    return size_of_directory(directory, {}), sum(file.stat().st_size for file in files)


def in_words(count: int | None) -> str:
    """A number of parameters, for people: 169.6 M, 8.02 B."""
    if not count:
        return UNKNOWN
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:,.{2 if unit == 10**9 else 1}f} {name}"
    return f"{count:,}"
