"""What the panel of one checkpoint says: what it is, whether it fits, what can be done with it, what was found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddemo.compare.questions import NOISE
from ddemo.denoisers import find_checkpoint, hub
from ddemo.denoisers.catalog import Entry, catalog
from ddemo.denoisers.fit import CANVAS, LANES, Fit, Size, Use, fit, free_memory, in_bytes, need_of, size_of_download
from ddemo.denoisers.loading import DTYPES, LEAST_CANVAS, caches_of, pick_device, process_of, recommended_of, size_of
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS
from ddemo.settings import SETTINGS
from ddemo.ui.models.table import (
    ON_DISK,
    ON_THE_HUB,
    in_words,
    row_of_directory,
    row_of_entry,
    row_of_resident,
    usual_use,
)
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf

LONGEST, MOST_LANES = 131_072, 64  # that an estimate is asked for
LONGEST_NAME = 1000


@dataclass(frozen=True)
class Subject:
    """The checkpoint that a visitor means.

    Attributes:
        name: as it was asked for: an id, owner/name[@revision] or a directory.
        resident: where the page offers it.
        directory: where it is on disk.
        entry: of the catalog.
        plan: of its download, where the visitor had the Hub asked.
        problem: why what is on disk cannot be used.
    """

    name: str
    resident: Resident | None = None
    directory: Path | None = None
    entry: Entry | None = None
    plan: hub.Plan | None = None
    problem: str = ""

    @classmethod
    def of(cls, shelf: Shelf, name: Any, plans: Mapping[str, hub.Plan]) -> "Subject":
        """What a name means on this page; no network is used.

        Raises:
            InputError: neither on disk nor an id of the Hub; on a public page, whatever is not offered.
        """
        if shelf.public or name in shelf:
            resident = shelf[name]
            return cls(
                resident.id, resident, resident.directory, catalog().get(resident.id), problem=resident.problem
            )
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
            raise InputError("Write the id of a checkpoint on the Hub, owner/name, or a directory with one.")
        name = name.strip()
        asked = hub.HubId.read(name)
        entry, plan = catalog().get(asked.repository) if asked else None, plans.get(name)
        try:
            directory = find_checkpoint(name)
        except InputError as problem:
            if asked is None:
                raise
            broken = str(problem) if hub.cached(name) else ""
            return cls(name, entry=entry, plan=plan, problem=broken)
        resident = shelf.get(hub.id_of(directory))
        offered = resident if resident.directory == directory else None
        return cls(name, offered, directory, entry, plan)


def use_of(shelf: Shelf, asked: Mapping[str, Any]) -> Use:
    """Type, canvas and lanes that an estimate is asked for. Raises InputError."""
    told: dict[str, Any] = {}
    for name, most, usual in (("length", LONGEST, CANVAS), ("lanes", MOST_LANES, LANES)):
        value = asked.get(name, usual)
        if type(value) is not int or not 1 <= value <= most:
            label = {"length": "Canvas", "lanes": "Lanes"}[name]
            raise InputError(f"{label} must be a whole number from 1 to {most:,}.")
        told[name] = value
    dtype = asked.get("dtype") or ""
    if dtype and (not isinstance(dtype, str) or dtype not in DTYPES):
        raise InputError(f"The weights' type must be one of {', '.join(DTYPES)}.")
    return usual_use(shelf, **told | ({"dtype": dtype} if dtype else {}))


def panel_of(shelf: Shelf, subject: Subject, use: Use) -> dict[str, Any]:
    """Everything that the panel shows of a checkpoint, in words.

    Raises:
        InputError: what is on disk cannot be measured.
    """
    resident, loaded = subject.resident, bool(subject.resident and subject.resident.loaded)
    told: dict[str, Any] = {
        "name": subject.name,
        "id": resident.id if resident else "",
        "row": _row(shelf, subject),
        "about": list(_about(subject)),
        "settings": _settings(subject),
        "note": subject.entry.note if subject.entry else "",
        "source": subject.entry.source if subject.entry else "",
        "loaded": loaded,
        "can": _can(shelf, subject, use),
        "checks": [],
        "measured": [],
        "work": None,
        "say": subject.problem,
        "kind": "error" if subject.problem else "",
    }
    if resident and loaded:
        told |= _found(resident)
    if not shelf.public:
        told |= {"use": {"dtype": use.dtype, "length": use.length, "lanes": use.lanes}, "disk": _disk(subject)}
        told["fit"] = _fit(shelf, subject, use)
    return told


def _row(shelf: Shelf, subject: Subject) -> dict[str, str]:
    """The row of the table, for one that the table does not have."""
    if subject.resident:
        return row_of_resident(shelf, subject.resident)
    here = {"where": ON_DISK if subject.directory else ON_THE_HUB, "id": subject.name}
    if subject.directory:
        return row_of_directory(shelf, subject.directory) | here | {"group": "named"}
    if subject.entry:
        return row_of_entry(shelf, subject.entry) | here | {"group": "named"}
    plan = subject.plan
    counted = size_of_download(plan.config, plan.parameters, plan.weights).numbers if plan else 0
    unknown = dict.fromkeys(("noise", "family", "parameters", "bytes", "context", "licence", "memory", "try"), "")
    told = {"bytes": in_bytes(plan.bytes), "parameters": in_words(counted)} if plan else {}
    return unknown | here | told | {"group": "named"}


def _about(subject: Subject) -> Iterator[tuple[str, str]]:
    """Label and words of what is known."""
    resident, entry, plan = subject.resident, subject.entry, subject.plan
    process = resident.process if resident else entry.process if entry else ""
    if subject.directory and not process:
        process = process_of(subject.directory)
    if process:
        yield "Noise", f"{process}: text comes out of {NOISE[process]}"
    if resident and resident.loaded:
        checkpoint = resident.get()
        yield "Weights", f"{checkpoint.dtype} on {checkpoint.denoiser.device.type}, revision {checkpoint.revision}"
    elif plan:
        yield "Revision", f"{plan.id.revision[:40]}, now commit {plan.commit[:12]}"
    elif entry and not resident:
        yield "Revision", f"commit {entry.revision[:12]}" if entry.pinned else f"{entry.revision}, not pinned"
    if entry and entry.tokenizer:
        yield "Tokenizer", entry.tokenizer


def _settings(subject: Subject) -> list[tuple[str, str]]:
    """Label and value of what is recommended."""
    if subject.resident:
        settings = subject.resident.usual.settings
    elif subject.directory:
        settings = recommended_of(subject.directory)
    else:
        settings = {"sampler": subject.entry.sampler, **subject.entry.settings} if subject.entry else {}
    sampler = SAMPLERS.get(settings.get("sampler"))
    told = [("Sampler", sampler.title)] if sampler else []
    for name, value in settings.items():
        if name != "sampler" and name in SETTINGS:
            knob = sampler.knob(name) if sampler else None
            told.append((knob.label if knob else SETTINGS[name].label, str(value)))
    return told


def _can(shelf: Shelf, subject: Subject, use: Use) -> dict[str, bool]:
    """Which buttons there are."""
    on_page, loaded = subject.resident is not None, bool(subject.resident and subject.resident.loaded)
    of_hub = hub.HubId.read(subject.name) is not None and not on_page
    here = subject.directory is not None
    if shelf.public:
        return {"use": on_page}
    return {
        "check": of_hub and not here,
        "fetch": of_hub and not here and subject.plan is not None,
        "load": here and (not loaded or subject.resident.can_be(use.dtype)),
        "use": on_page,
    }


def _disk(subject: Subject) -> str:
    plan = subject.plan
    if plan is None or subject.directory:
        return ""
    if not plan.missing:
        return "All of its files are in the cache."
    free = in_bytes(hub.disk_free())
    return f"To fetch: {in_bytes(plan.missing)} of {in_bytes(plan.bytes)}. {free} of the disk is free."


def _fit(shelf: Shelf, subject: Subject, use: Use) -> dict[str, Any] | None:
    """The estimate for a use, its parts, and whether a load would be refused; None where there is no choice."""
    place = pick_device(shelf.device)
    loaded = bool(subject.resident and subject.resident.loaded)
    if loaded and not subject.resident.can_be(use.dtype):
        changes = subject.resident.get().dtype in DTYPES
        return {"verdict": "", "say": "", "parts": [], "refused": False} if changes else None
    # Loaded in another type, it gives up the memory that it has first.
    held, least = _estimates(subject, use, place, subject.resident.weight_bytes if subject.resident else 0)
    if held is None:
        return {"verdict": "", "say": "What it needs is known once the Hub was asked.", "parts": [], "refused": False}
    names = {"weights": "Weights", "activations": "Activations", "logits": "Logits", "total": "Together"}
    parts = [(label, in_bytes(getattr(held.need, name))) for name, label in names.items()]
    only_weights = not held.need.logits
    if only_weights:
        parts = parts[:1]
    if kept := _kept(subject, use):
        parts.append(("With a cache by blocks, besides", in_bytes(kept)))
    parts.append((f"Free, {place.type.upper()}", in_bytes(held.free)))
    say = (
        held.sentence if not only_weights else f"{held.sentence} That is for the weights alone: Check tells the rest."
    )
    return {"verdict": held.verdict, "say": say, "parts": parts, "refused": least.verdict == "does not fit"}


def _kept(subject: Subject, use: Use) -> int:
    """Bytes of the keys and values that lanes may keep by blocks; 0 where they keep none, or it is not known."""
    config = None if subject.directory else subject.plan.config if subject.plan else {}
    size = _size_of(subject)
    if config == {} or size is None:
        return 0
    place = subject.directory or Path(subject.plan.id.repository)
    return need_of(size, replace(use, cached=True)).cache if caches_of(place, config).kinds else 0


def _estimates(subject: Subject, use: Use, place: Any, besides: int) -> tuple[Fit | None, Fit | None]:
    """A use, and the least one, held against what is free and `besides`; None where the size is not known."""
    least, size = Use(use.dtype, min(LEAST_CANVAS, use.length), 1), _size_of(subject)
    if size is None:
        return None, None
    free = free_memory(place) + besides
    return fit(size, use, free), fit(size, least, free)


def _size_of(subject: Subject) -> Size | None:
    """What is known of its size: from disk, from the Hub, or from the catalog, which knows the weights alone."""
    if subject.directory:
        return size_of(subject.directory)
    if plan := subject.plan:
        return size_of_download(plan.config, plan.parameters, plan.weights)
    return Size(subject.entry.parameters) if subject.entry and subject.entry.parameters else None


def _found(resident: Resident) -> dict[str, Any]:
    """What was found when it was loaded: self-checks, and memory beside the estimate."""
    checkpoint = resident.get()
    measured = []
    if checkpoint.weight_bytes:
        estimate = in_bytes(checkpoint.fit.need.weights) if checkpoint.fit else ""
        measured.append(("Weights", estimate, in_bytes(checkpoint.weight_bytes)))
    if resident.grown:
        measured.append(("Growth of the process while loading", "", in_bytes(resident.grown)))
    if turn := resident.turn:
        lanes = f"{turn.use.lanes} lane{'s' if turn.use.lanes > 1 else ''} of {turn.use.length:,} tokens"
        measured.append((f"A first turn of {lanes}, besides", in_bytes(turn.estimated), in_bytes(turn.measured)))
    return {"checks": list(getattr(checkpoint.denoiser, "checks", ())), "measured": measured}
