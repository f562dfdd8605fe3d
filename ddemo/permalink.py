"""A run as the end of an address: text, settings and seed, readable by people, and read back from anybody.

    #run=classics-mdm@96bc38c70e6f&sampler=confidence&steps=16&seed=7&length=48&text=The%20old%20sailor

It is the fragment of the address, which browsers do not send, so that a text does not get into a server's logs. What
is made of it is text and settings for the page's own fields; nothing in it is run.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from ddemo.errors import InputError
from ddemo.runs import checked_request, request_of
from ddemo.sampling import SamplerConfig
from ddemo.sampling.config import quoted
from ddemo.settings import SETTINGS
from ddemo.trace import Trace

LONGEST = 32_000  # characters: what every browser carries
LONGEST_NAME = 100
WHOLE = re.compile(r"[0-9]{1,9}")
SAID_ALWAYS = ("sampler", "seed")
EDITED = "The link gives the run before your edits: save the trace file to keep them."


@dataclass(frozen=True)
class Permalink:
    """What a link says of a run.

    Attributes:
        checkpoint, revision: what it was made with.
        text, length: what `runs.begin` takes.
        config: the settings; `candidates`, which is for views, has its default.
    """

    checkpoint: str
    revision: str
    text: str
    length: int
    config: SamplerConfig

    @classmethod
    def of(cls, trace: Trace) -> "Permalink":
        """The link of a run as it was begun; see `EDITED` for one that was edited on the way.

        Raises:
            InputError: its text cannot be written, or it is not the first of several lanes.
        """
        if trace.lane:
            raise InputError("A link gives the first of several lanes, and this is another: save its trace file.")
        text, length = request_of(trace)
        made = trace.checkpoint
        return cls(made["id"], made["revision"], text, length, trace.config)

    def fragment(self) -> str:
        """The text "#run=..." with the settings that differ from the sampler's defaults, and always sampler and seed.

        Raises:
            InputError: the text is too long for an address, or has characters that a link must not have.
        """
        _check_id(self.checkpoint)
        _check_name(self.revision)
        check_characters(self.text)
        length = {"length": self.length} if self.length else {}
        run = f"{self.checkpoint}@{self.revision}"
        pairs = {"run": run, **told(self.config), **length, "text": self.text}
        fragment = "#" + "&".join(f"{name}={quote(str(value), safe='@,.!')}" for name, value in pairs.items())
        if len(fragment) > LONGEST:
            raise InputError(
                f"This text is too long for a link ({len(fragment):,} of {LONGEST:,} characters): save the trace "
                "file instead."
            )
        return fragment


def read_fragment(fragment: Any) -> Permalink:
    """The run that a fragment describes; it comes from anybody.

    Raises:
        InputError: one sentence that says what is wrong with it.
    """
    if not isinstance(fragment, str) or not fragment.startswith("#run="):
        raise InputError("This link describes no run.")
    if len(fragment) > LONGEST:
        raise InputError(f"This link is too long to be read ({len(fragment):,} of {LONGEST:,} characters).")
    pairs = pairs_of(fragment[1:])
    checkpoint, at, revision = pairs.pop("run").rpartition("@")
    if not at:
        raise InputError("This link does not say which checkpoint and revision made its run.")
    _check_id(checkpoint)
    _check_name(revision)
    text, length = pairs.pop("text", ""), pairs.pop("length", "0")
    check_characters(text)
    if not WHOLE.fullmatch(length):
        raise InputError(f"The length in this link must be a whole number, not {quoted(length)}.")
    text, length = checked_request(text, int(length))
    if unknown := [name for name in pairs if name not in SETTINGS]:
        raise InputError(f"This link has a setting that is not known here: {quoted(unknown[0])}.")
    if "sampler" not in pairs or "seed" not in pairs:
        raise InputError("This link is incomplete: it names no sampler or no seed.")
    return Permalink(checkpoint, revision, text, length, SamplerConfig.from_values(pairs))


def pairs_of(said: str) -> dict[str, str]:
    """Names and values, each name once."""
    pairs: dict[str, str] = {}
    for part in said.split("&"):
        name, equals, value = part.partition("=")
        if not equals or name in pairs:
            raise InputError(f"This link is damaged: {quoted(part)} is no name with one value.")
        try:
            pairs[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise InputError(f"This link is damaged: the value of {quoted(name)} is no text.") from None
    return pairs


def _check_id(name: str) -> None:
    """Of a checkpoint: a plain name, or owner/name of one from the Hub."""
    parts = name.split("/") if name.count("/") == 1 else [name]
    if len(name) > LONGEST_NAME or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"A link cannot name a checkpoint or revision {quoted(name)}.")
    for part in parts:
        _check_name(part)


def _check_name(name: str) -> None:
    """Of a checkpoint without its owner, or a revision."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name or "\\" in name:
        raise InputError(f"A link cannot name a checkpoint or revision {quoted(name)}.")


def check_characters(text: str) -> None:
    """Line breaks and tabs are text; other control characters are nobody's, and a text box would change some."""
    wrong = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
    if wrong is not None:
        raise InputError(f"A link cannot hold the control character U+{ord(wrong):04X}.")


def told(config: SamplerConfig) -> dict[str, Any]:
    """Sampler and seed, and the settings that differ from the sampler's defaults."""
    usual, settings = SamplerConfig(config.sampler).as_dict(), config.as_dict()
    names = [name for name in SETTINGS if name in settings]
    return {name: settings[name] for name in names if name in SAID_ALWAYS or settings[name] != usual[name]}
