"""Pieces of held-out text as tokens: prompts with what followed them, sentences, windows; drawn by a generator."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ddemo.denoisers import TextCodec
from ddemo.errors import InputError

PARAGRAPH = re.compile(r"^\S", re.MULTILINE)
# Up to a full stop with its quotation marks, or to the end of the line where there is none.
SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?][\"'”’)]*(?=\s)|(?=\n|\Z))")
CHARACTERS_A_TOKEN = 12  # of the text that is read for so many tokens: several times what they take


@dataclass(frozen=True)
class Passage:
    """The beginning of a paragraph, cut at a word, and what really followed it.

    Attributes:
        prompt, following: token ids.
    """

    prompt: Tensor
    following: Tensor


def passages(
    codec: TextCodec, documents: Sequence[str], count: int, length: int, prompt: int, generator: torch.Generator
) -> list[Passage]:
    """Beginnings of paragraphs, each of at most `prompt` tokens, and the `length` tokens after them.

    The prompt ends with a word and within its paragraph; what follows may run on into the next.

    Raises:
        InputError: there are not so many in the text.
    """
    found = _paragraphs(codec, documents, prompt + length, generator)
    cut = (_cut_at_word(codec, ids, prompt, length) for ids in found)
    return _taken(filter(None, cut), count, "paragraphs that are long enough")


def _cut_at_word(codec: TextCodec, ids: list[int], prompt: int, length: int) -> Passage | None:
    """None where no word begins among the first tokens of the paragraph's first line."""
    starts = codec.leads_with_space[ids[1 : prompt + 1]].nonzero().flatten().tolist()
    if not starts:
        return None
    end = starts[-1] + 1
    if b"\n" in b"".join(codec.piece(token) for token in ids[:end]):
        return None
    return Passage(torch.tensor(ids[:end]), torch.tensor(ids[end : end + length]))


def windows(
    codec: TextCodec, documents: Sequence[str], count: int, length: int, generator: torch.Generator
) -> list[Tensor]:
    """[length] int64 token ids each, from the start of a paragraph on. Raises InputError as `passages`."""
    found = _paragraphs(codec, documents, length, generator)
    parts = (torch.tensor(ids[:length]) for ids in found)
    return _taken(parts, count, f"paragraphs with {length} tokens from their start on")


def sentences(
    codec: TextCodec, documents: Sequence[str], count: int, least: int, most: int, generator: torch.Generator
) -> list[Tensor]:
    """Token ids of sentences of `least` to `most` tokens. Raises InputError as `passages`."""
    places = [(text, *found.span()) for text in documents for found in SENTENCE.finditer(text)]
    ids = (torch.tensor(codec.encode(text[first:last])[0]) for text, first, last in _shuffled(places, generator))
    fitting = (sentence for sentence in ids if least <= len(sentence) <= most)
    return _taken(fitting, count, f"sentences of {least} to {most} tokens")


def _paragraphs(
    codec: TextCodec, documents: Sequence[str], least: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """At least `least` tokens from the start of a paragraph on, of all paragraphs in random order."""
    places = [(text, found.start()) for text in documents for found in PARAGRAPH.finditer(text)]
    for text, start in _shuffled(places, generator):
        piece = text[start : start + CHARACTERS_A_TOKEN * (least + 1)]
        ids, _ = codec.encode(piece)
        whole = start + len(piece) == len(text)
        if len(ids) >= least + (not whole):  # the last token of a piece that is cut off may be half of one
            yield ids


def _shuffled(places: list, generator: torch.Generator) -> Iterator:
    return (places[i] for i in torch.randperm(len(places), generator=generator).tolist())


def _taken(found: Iterator, count: int, what: str) -> list:
    if count < 1:
        raise InputError(f"The number of texts must be at least 1, not {count}.")
    taken = list(islice(found, count))
    if len(taken) < count:
        raise InputError(f"The text has only {len(taken)} {what}, not {count}: ask for fewer.")
    return taken
