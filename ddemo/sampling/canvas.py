"""The canvas: the tokens a lane works on, which of them are fixed, and how it is read from a visitor's text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntFlag
from itertools import groupby, pairwise

import torch
from torch import Tensor

from ddemo.denoisers.chat import Turn, chat_prompt
from ddemo.denoisers.codec import TextCodec, check_encodable, visible
from ddemo.errors import InputError

MAX_CHARACTERS = 100_000
MARKER = re.compile(r"\[MASK(?::([^\]\n]{0,40}))?\]|_{3,}", re.IGNORECASE)  # bounded: open brackets stay cheap


class Spacing(IntFlag):
    """What a mask may be filled with, so that the spaces around it stay the visitor's."""

    FREE = 0
    SPACE_FIRST = 1  # " word": the space in front of the mask belongs to it
    NO_SPACE_FIRST = 2  # "word": nothing stood between the mask and what is before it
    NO_SPACE_LAST = 4  # the spaces after the mask are the visitor's own


@dataclass(frozen=True)
class Canvas:
    """Tokens and what is known of each position.

    Attributes:
        tokens: [L] int64; the mask id where nothing stands yet.
        fixed: [L] bool; positions that no step may change.
        spacing: [L] uint8 of `Spacing`; read where a token is drawn.
        own: position -> the visitor's own characters, where decoding the token would not give them.
        forced, locked: positions fixed by the visitor's hand rather than by the prompt.
    """

    tokens: Tensor
    fixed: Tensor
    spacing: Tensor
    own: dict[int, str] = field(default_factory=dict)
    forced: frozenset[int] = frozenset()
    locked: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.tokens)

    def masks(self, mask_id: int) -> Tensor:
        """Positions [M] where a mask stands."""
        return (self.tokens == mask_id).nonzero().squeeze(-1)

    def with_tokens(self, tokens: Tensor) -> "Canvas":
        return replace(self, tokens=tokens)

    def text(self, codec: TextCodec) -> str:
        """The whole text as a visitor could type it: their own characters to the letter, masks as markers."""
        shown = codec.aligned(self.tokens.tolist())
        masked = (self.tokens == codec.mask_id).tolist()
        parts = []
        for is_mask, run in groupby(range(len(self)), masked.__getitem__):
            positions = list(run)
            if is_mask:
                space = " " if self.spacing[positions[0]] & Spacing.SPACE_FIRST else ""
                parts.append(space + marker(len(positions)))
            else:
                parts += [self.own.get(position, shown[position]) for position in positions]
        return "".join(parts)


@dataclass(frozen=True)
class MaskRun:
    """A marker in the text: `count` tokens to be filled."""

    count: int


class CanvasBuilder:
    """Puts a canvas together from pieces of text, tokens and masks, from left to right."""

    def __init__(self, codec: TextCodec):
        self.codec = codec
        self.tokens: list[int] = []
        self.fixed: list[bool] = []
        self.spacing: list[int] = []
        self.own: dict[int, str] = {}
        self.forced: set[int] = set()
        self.locked: set[int] = set()

    def add_text(self, text: str) -> range:
        """Fixed text; returns its positions."""
        ids, slices = self.codec.encode(text)
        start = len(self.tokens)
        decoded = self.codec.aligned(ids)
        for token, characters, shown in zip(ids, slices, decoded, strict=True):
            if characters != shown:
                self.own[len(self.tokens)] = characters
            self.add_token(token, fixed=True)
        return range(start, len(self.tokens))

    def add_token(self, token: int, fixed: bool, spacing: int = Spacing.FREE) -> int:
        self.tokens.append(token)
        self.fixed.append(fixed)
        self.spacing.append(int(spacing))
        return len(self.tokens) - 1

    def add_masks(self, count: int, first: Spacing = Spacing.FREE, last: Spacing = Spacing.FREE) -> None:
        for index in range(count):
            rule = (first if index == 0 else Spacing.FREE) | (last if index == count - 1 else Spacing.FREE)
            self.add_token(self.codec.mask_id, fixed=False, spacing=rule)

    def build(self) -> Canvas:
        return Canvas(
            tokens=torch.tensor(self.tokens, dtype=torch.int64),
            fixed=torch.tensor(self.fixed, dtype=torch.bool),
            spacing=torch.tensor(self.spacing, dtype=torch.uint8),
            own=self.own,
            forced=frozenset(self.forced),
            locked=frozenset(self.locked),
        )


def read_text(text: str, length: int, codec: TextCodec, max_length: int) -> Canvas:
    """The canvas of a visitor's text.

    `[MASK]`, `[MASK:5]` and `___` become masks. Text without any gets `length` masks after it. A space
    before a masked run belongs to the run, because the model writes " word" with its space; the run's first
    token must then begin with exactly one space, and else with none, so that filled text has the visitor's
    spacing.

    Args:
        text: what the visitor typed.
        length: tokens to write after a text that has no mask in it; 0 for none.
        codec: the checkpoint's text codec.
        max_length: the checkpoint's limit in tokens.

    Raises:
        InputError: nothing to fill, more than the checkpoint takes, or unreadable text.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"The text has {len(text):,} characters, more than the {MAX_CHARACTERS:,} that are read: shorten it."
        )
    check_encodable(text)
    parts = parse_markers(text)
    has_mask = any(isinstance(part, MaskRun) for part in parts)
    if not has_mask:
        if length <= 0:
            raise InputError("There is nothing to fill: put [MASK] where words are missing, or set a length.")
        parts.append(MaskRun(length))
    masks = sum(part.count for part in parts if isinstance(part, MaskRun))
    _check_length(masks, max_length, "masks alone make")
    builder = CanvasBuilder(codec)
    for index, part in enumerate(parts):
        if isinstance(part, MaskRun):
            before = parts[index - 1] if index else ""
            open_end = not has_mask and index == len(parts) - 1
            builder.add_masks(part.count, *_spacing_around(before, open_end))
        else:
            followed_by_mask = index + 1 < len(parts)
            builder.add_text(part[:-1] if followed_by_mask and part.endswith(" ") else part)
    _check_length(len(builder.tokens), max_length, "text and masks make")
    return builder.build()


def read_chat(turns: Sequence[Turn], length: int, codec: TextCodec, max_length: int) -> Canvas:
    """The canvas of a conversation: its turns as the checkpoint's format writes them, and masks for the answer.

    Args:
        turns: what was said so far; the assistant is to go on.
        length: tokens of the answer.
        codec: the checkpoint's text codec.
        max_length: the checkpoint's limit in tokens.

    Raises:
        InputError: no length, more than the checkpoint takes, or turns that its format cannot write.
    """
    if length <= 0:
        raise InputError("There is nothing to fill: set a length for the answer.")
    builder = CanvasBuilder(codec)
    for token in chat_prompt(codec, turns):
        builder.add_token(token, fixed=True)
    _check_length(len(builder.tokens) + length, max_length, "conversation and answer make")
    builder.add_masks(length)
    return builder.build()


def read_draft(text: str, length: int, codec: TextCodec, max_length: int) -> Canvas:
    """As `read_text`, for a text that is still being written: without masks in it, it is a canvas of its own.

    A text with nothing to fill, or too long for `length` more tokens, has only its fixed tokens, so that a visitor
    can see it and mask parts of it.

    Raises:
        InputError: as `read_text`, when the text on its own is no canvas either.
    """
    try:
        return read_text(text, length, codec, max_length)
    except InputError:
        if not text or len(text) > MAX_CHARACTERS or any(isinstance(part, MaskRun) for part in parse_markers(text)):
            raise
        builder = CanvasBuilder(codec)
        builder.add_text(text)
        _check_length(len(builder.tokens), max_length, "text makes")
        return builder.build()


def parse_markers(text: str) -> list[str | MaskRun]:
    """Split a text at its mask markers, leaving out empty strings.

    Raises:
        InputError: a marker such as [MASK:0] or [MASK:many] does not say a number of tokens.
    """
    parts: list[str | MaskRun] = []
    position = 0
    for marker in MARKER.finditer(text):
        parts += [text[position : marker.start()], MaskRun(_count(marker))]
        position = marker.end()
    return [part for part in [*parts, text[position:]] if part != ""]


def joins_a_word(text: str) -> bool:
    """Whether a marker stands against a letter or digit, so that its filling becomes part of that word."""
    parts = parse_markers(text)
    touching = (
        (left[-1] if isinstance(right, MaskRun) else right[0])
        for left, right in pairwise(parts)
        if isinstance(left, str) != isinstance(right, str)
    )
    return any(character.isalnum() for character in touching)


def marker(count: int) -> str:
    """How a masked run is written: [MASK] or [MASK:5]."""
    return "[MASK]" if count == 1 else f"[MASK:{count}]"


def _count(found: re.Match) -> int:
    written = found.group(1)
    if written is None:
        return 1
    digits = written.strip()
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise InputError(
            f"{visible(found.group(0)[:40])} does not say how many tokens: write [MASK:5] for five, [MASK] for one."
        )
    return int(digits)


def _spacing_around(before: str | MaskRun, open_end: bool) -> tuple[Spacing, Spacing]:
    """Rules for a run's first and last token, from what stands before it and whether text ends with it."""
    last = Spacing.FREE if open_end else Spacing.NO_SPACE_LAST
    if isinstance(before, MaskRun):
        return Spacing.FREE, last
    if before.endswith(" "):
        return Spacing.SPACE_FIRST, last
    if open_end and before:
        return Spacing.FREE, last
    return Spacing.NO_SPACE_FIRST, last


def _check_length(count: int, max_length: int, what: str) -> None:
    if count > max_length:
        raise InputError(
            f"The {what} {count:,} tokens, and this checkpoint takes at most {max_length:,}: shorten the text or "
            "ask for fewer masks."
        )
