"""The catalog: checkpoints on the Hub that suit ddemo, with what is publicly known of each."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

FILE = Path(__file__).with_suffix(".toml")
PROCESSES = ("absorbing", "uniform", "gaussian")
FAMILIES = (
    *("masked-lm", "mdlm", "sedd", "bd3lm", "udlm", "duo"),
    *("llada", "dream", "diffugpt", "diffullama", "a2d"),
)
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Entry:
    """A checkpoint on the Hub. None stands for what no public page states.

    Attributes:
        id: owner/name on the Hub.
        revision: the commit that is fetched, or a branch where no commit could be verified, which `note` says.
        family: how it is read, one of `FAMILIES`.
        process: the noise that it reverses.
        sampler, settings: what its authors recommend, in the names of `ddemo.settings`.
        try_: what to try with it, in a sentence; `try` in the file.
        source: a public page that states the facts.
        parameters: how many numbers its weights are.
        bytes: of the download, rounded as the Hub shows it.
        licence: as its card names it.
        context: the longest text in tokens.
        tokenizer: the repository whose tokenizer it uses, where it brings none.
        note: what one should know before fetching it.

    Raises:
        ValueError: a field is of the wrong type or out of its range; the message names entry, field and value.
    """

    id: str
    revision: str
    family: str
    process: str
    sampler: str
    try_: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    bytes: int | None = None
    licence: str | None = None
    context: int | None = None
    tokenizer: str | None = None
    note: str = ""

    def __post_init__(self):
        for name in ("id", "revision", "family", "process", "sampler", "try_", "source"):
            value = getattr(self, name)
            self._require(isinstance(value, str) and value.strip() == value != "", name, "a text")
        self._require(bool(ID.fullmatch(self.id)), "id", "owner/name")
        self._require(self.family in FAMILIES, "family", f"one of {', '.join(FAMILIES)}")
        self._require(self.process in PROCESSES, "process", f"one of {', '.join(PROCESSES)}")
        self._require(self.source.startswith("https://"), "source", "an https address")
        self._require(isinstance(self.settings, Mapping), "settings", "a table")
        self._require(isinstance(self.note, str), "note", "a text")
        for name in ("parameters", "bytes", "context"):
            value = getattr(self, name)
            self._require(value is None or (type(value) is int and value > 0), name, "a whole number above 0")
        for name in ("licence", "tokenizer"):
            value = getattr(self, name)
            self._require(value is None or (isinstance(value, str) and value != ""), name, "a text")
        self._require(self.pinned or self.note != "", "note", "a reason why the revision is not a commit")
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which always means the same files."""
        return COMMIT.fullmatch(self.revision) is not None

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{self.id!r}: {name} must be {wanted}, not {getattr(self, name)!r}")


@cache
def catalog() -> dict[str, Entry]:
    """The entries of the catalog file by their ids, in its order."""
    return read(FILE)


def read(file: Path) -> dict[str, Entry]:
    """Raises ValueError for a file that is no catalog, a field that is unknown or missing, an id given twice."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    if set(tables) != {"checkpoint"} or not isinstance(tables["checkpoint"], list):
        raise ValueError(f"{file.name} must hold [[checkpoint]] tables, not {sorted(tables)}")
    entries: dict[str, Entry] = {}
    for table in tables["checkpoint"]:
        entry = _entry(table)
        if entry.id in entries:
            raise ValueError(f"{entry.id!r} is in {file.name} twice")
        entries[entry.id] = entry
    return entries


def _entry(table: dict[str, Any]) -> Entry:
    given = {"try_" if name == "try" else name: value for name, value in table.items()}
    if unknown := sorted(set(given) - {item.name for item in fields(Entry)}):
        raise ValueError(f"{table.get('id')!r}: {unknown[0]} is no field of the catalog")
    try:
        return Entry(**given)
    except TypeError as problem:
        raise ValueError(f"{table.get('id')!r}: a field is missing ({problem})") from None
