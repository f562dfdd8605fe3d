"""Text in, windows of tokens out: reading documents, the token cache on disk, and window sampling.

`read_documents` needs the standard library only, so that evaluation does without what training installs.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ddemo.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from tokenizers import Tokenizer

SPLITS = ("train", "valid")
PIECE = 1_000_000  # characters of a long document that are tokenised at once
HELD_OUT = 0.02  # share of each document kept for validation where the file names no split


def read_documents(path: str | Path, split: str) -> Iterator[str]:
    """Yields the documents of one split of a .txt, .jsonl, .jsonl.xz or .txt.xz file.

    A JSON line is an object with `text` and, if it likes, `split`. Where no split is named (a plain text file is one
    such document), the last 2 % of the document is `valid` and the rest is `train`, cut at a line end.

    Raises InputError: the file is missing, of another kind or unreadable, with the number of a line that cannot be
    used; or split is neither train nor valid.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    path = Path(path)
    name = path.name.removesuffix(".xz")
    if not name.endswith((".txt", ".jsonl")):
        raise InputError(f"{path.name}: expected a name ending in .txt, .jsonl, .txt.xz or .jsonl.xz")
    try:
        with _open_text(path) as file:
            if name.endswith(".jsonl"):
                yield from _from_json_lines(file, path, split)
            else:
                yield from filter(None, [_part_of(file.read(), split)])
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as problem:
        raise InputError(f"{path.name} is damaged or is not UTF-8 text ({type(problem).__name__}).") from problem


def _open_text(path: Path) -> TextIO:
    # newline="" keeps "\r\n" and lone "\r" as they are: what is trained on and measured is the file's own text.
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8", newline="")
    return open(path, encoding="utf-8", newline="")


def _from_json_lines(file: TextIO, path: Path, split: str) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            text = record["text"]
            text.encode()  # a lone surrogate, which JSON can spell, cannot become tokens
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise InputError(f"{path.name}, line {number}: not a JSON object with a field 'text'") from problem
        if "split" not in record:
            text = _part_of(text, split)
        elif record["split"] != split:
            continue
        if text:
            yield text


def _part_of(text: str, split: str) -> str:
    cut = int(len(text) * (1 - HELD_OUT))
    cut = text.rfind("\n", 0, cut) + 1 or cut
    return text[:cut] if split == "train" else text[cut:]


@dataclass(frozen=True)
class TokenFile:
    """Tokens of one split, on disk: `tokens` [T] uint16 memory map, documents joined by the end-of-text token.

    `starts` [S] int64: where paragraphs begin, that is, positions after a newline or an end of text.
    """

    tokens: np.ndarray
    starts: np.ndarray


def write_tokens(
    tokenizer: Tokenizer,
    documents: Iterable[str],
    path: Path,
    end_of_text: int,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Encodes documents into a flat uint16 file, each followed by end_of_text. Appears under its name when complete.

    progress, if given, is called with the number of characters done. Raises ValueError for more than 65,536 tokens.
    """
    import numpy as np

    if tokenizer.get_vocab_size() > 1 << 16:
        raise ValueError(f"vocab_size {tokenizer.get_vocab_size()} does not fit the token cache (at most 65536)")
    unfinished = path.with_name(path.name + ".part")
    with open(unfinished, "wb") as file:
        for batch in _batches(_pieces(documents), characters=4_000_000):
            encodings = tokenizer.encode_batch_fast([text for text, _ in batch], add_special_tokens=False)
            for encoding, (_, is_last) in zip(encodings, batch, strict=True):
                file.write(np.asarray(encoding.ids + [end_of_text] * is_last, dtype="<u2").tobytes())
            if progress:
                progress(sum(len(text) for text, _ in batch))
    os.replace(unfinished, path)


def _pieces(documents: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Documents cut after newlines, which no token crosses, and whether a piece is its document's last."""
    for document in documents:
        first = 0
        while first < len(document):
            cut = document.find("\n", first + PIECE) + 1 or len(document)
            yield document[first:cut], cut == len(document)
            first = cut


def _batches(pieces: Iterator[tuple[str, bool]], characters: int) -> Iterator[list[tuple[str, bool]]]:
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece[0])
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def open_tokens(path: Path, newline: int, end_of_text: int) -> TokenFile:
    """Opens what write_tokens wrote and finds the paragraph starts."""
    import numpy as np

    tokens = np.memmap(path, dtype="<u2", mode="r")
    breaks = np.flatnonzero((tokens == newline) | (tokens == end_of_text))
    return TokenFile(tokens, np.concatenate([[0], breaks[:-1] + 1]))


def count_tokens(data: TokenFile, size: int) -> torch.Tensor:
    """How often each of `size` tokens comes [size] int64."""
    import numpy as np
    import torch

    counts = np.zeros(size, dtype=np.int64)
    for first in range(0, len(data.tokens), PIECE):  # bincount makes 8 bytes of each token
        counts += np.bincount(data.tokens[first : first + PIECE], minlength=size)
    return torch.from_numpy(counts)


def sample_windows(
    data: TokenFile, count: int, length: int, generator: torch.Generator, at_paragraph: float = 0.5
) -> torch.Tensor:
    """Draws windows [count, length] int64, a share at_paragraph of them from a paragraph's start, the rest anywhere.

    Which windows come depends on the generator alone. Prompts begin where sentences do, hence the paragraph starts.
    Raises ValueError when the text is shorter than one window.
    """
    import numpy as np
    import torch

    room = len(data.tokens) - length
    if room < 0:
        raise ValueError(f"the training text has {len(data.tokens)} tokens, fewer than one window of {length}")
    usable = int(np.searchsorted(data.starts, room, side="right"))  # paragraphs with a whole window after them
    anywhere = torch.randint(room + 1, (count,), generator=generator).numpy()
    paragraph = data.starts[torch.randint(usable, (count,), generator=generator).numpy()]
    first = np.where(torch.rand(count, generator=generator).numpy() < at_paragraph, paragraph, anywhere)
    rows = data.tokens[first[:, None] + np.arange(length)]
    return torch.from_numpy(rows.astype(np.int64))
