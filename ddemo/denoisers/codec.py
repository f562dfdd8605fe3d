"""Text to tokens and back, without losing a character."""

import codecs
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ddemo.errors import InputError


class TextCodec:
    """A tokenizer seen as a table from token id to the bytes that it stands for.

    The text of a row of tokens is the concatenation of their bytes. Everything that shows tokens goes
    through that table, so a character that is spread over several tokens is never split: it belongs to
    the token that completes it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocab_size: int, mask_id: int):
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.mask_id = mask_id

    def same_tokens(self, other: "TextCodec") -> bool:
        """Whether both mean the same by every token, so that one canvas serves both."""
        mine, theirs = (
            (codec.vocab_size, codec.mask_id, codec.tokenizer.get_vocab(), codec.tokenizer.all_special_ids)
            for codec in (self, other)
        )
        return mine == theirs

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """Token ids of `text`, and the slice of `text` that each stands for (they concatenate to `text`).

        Special tokens written out in the text are read as ordinary characters.

        Raises:
            InputError: the text holds a lone surrogate, which no encoding can carry, or what the tokenizer has no
                token for.
        """
        if not text:
            return [], []
        check_encodable(text)
        try:
            encoding = self.tokenizer(
                text,
                add_special_tokens=False,
                split_special_tokens=True,
                return_offsets_mapping=True,
                verbose=False,
            )
        except Exception as problem:  # the library has no kind of its own for a word without a token
            raise InputError(f"This checkpoint has no tokens for all of {visible(text[:40])!r}.") from problem
        ids = encoding["input_ids"]
        if not ids:
            return [self._stand_in(text)], [text]
        shown = self.aligned(ids)
        if "".join(shown) == text:
            return ids, shown
        return ids, _slices(text, [end for _, end in encoding["offset_mapping"]])

    def _stand_in(self, text: str) -> int:
        """The token for a text that the tokenizer drops whole, such as spaces in WordPiece."""
        if self.tokenizer.unk_token_id is None:
            raise InputError(f"This checkpoint has no token for {visible(text[:40])!r}.")
        return self.tokenizer.unk_token_id

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; special tokens stand for their name."""
        return self._pieces[token] if 0 <= token < len(self._pieces) else b""

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.aligned(tokens))

    def aligned(self, tokens: Sequence[int]) -> list[str]:
        """One string a token, concatenating to the whole text; each character goes to the token completing it."""
        return aligned(self.piece(int(token)) for token in tokens)

    @cached_property
    def never_drawn(self) -> Tensor:
        """[V] bool: ids that no sampler may write: the mask, other special tokens, unused rows.

        End-of-text stays drawable, since a model says with it that the text is over.
        """
        never = torch.zeros(self.vocab_size, dtype=torch.bool)
        never[list(set(self.tokenizer.all_special_ids) - set(self.ends.tolist()))] = True
        never[self.mask_id] = True
        never[[token for token in range(self.vocab_size) if not self.piece(token)]] = True
        return never

    @cached_property
    def ends(self) -> Tensor:
        """[E] int64: ids that say that the text is over; none for a tokenizer without such a token."""
        end = self.tokenizer.eos_token_id
        return torch.tensor([] if end is None else [end], dtype=torch.int64)

    @cached_property
    def leads_with_space(self) -> Tensor:
        """[V] bool: tokens such as " word": exactly one space, then something visible."""
        return self._where(lambda piece: piece[:1] == " " and piece[1:2] != "" and not piece[1].isspace())

    @cached_property
    def leads_with_whitespace(self) -> Tensor:
        """[V] bool."""
        return self._where(lambda piece: piece[:1].isspace())

    @cached_property
    def ends_with_whitespace(self) -> Tensor:
        """[V] bool."""
        return self._where(lambda piece: piece[-1:].isspace())

    def _where(self, holds) -> Tensor:
        texts = (self.piece(token).decode("utf-8", "replace") for token in range(self.vocab_size))
        return torch.tensor([bool(holds(text)) for text in texts])

    @cached_property
    def _pieces(self) -> list[bytes]:
        read = _reader(self.tokenizer)
        special = set(self.tokenizer.all_special_ids)
        names = self.tokenizer.convert_ids_to_tokens(range(min(self.vocab_size, len(self.tokenizer))))
        return [
            b"" if name is None else name.encode() if token in special else read(name)
            for token, name in enumerate(names)
        ]


def aligned(pieces: Iterable[bytes]) -> list[str]:
    """One string a piece, concatenating to the whole text; each character goes to the piece that completes it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(piece) for piece in pieces]
    if texts:
        texts[-1] += decoder.decode(b"", final=True)
    return texts


def check_encodable(text: str) -> None:
    """Raise InputError for text that cannot be written as UTF-8, naming the place."""
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise InputError(
            f"Character {problem.start + 1} of the text is half of a broken pair (a lone surrogate): "
            "delete it and try again."
        ) from None


def visible(text: str) -> str:
    """The text with control and zero-width characters written out, for messages that quote input."""
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn"}
    return "".join(f"<U+{ord(c):04X}>" if unicodedata.category(c) in hidden else c for c in text)


def _slices(text: str, ends: list[int]) -> list[str]:
    """Cut `text` at non-decreasing `ends`; what is left over goes to the last slice."""
    slices, start = [], 0
    for end in [*ends[:-1], len(text)]:
        slices.append(text[start : max(start, end)])
        start = max(start, end)
    return slices


def _reader(tokenizer: PreTrainedTokenizerFast):
    """How this tokenizer's vocabulary entries spell bytes: byte-level BPE, SentencePiece or WordPiece."""
    kind = repr(tokenizer.backend_tokenizer.decoder)
    if "ByteLevel" in kind:
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        return lambda name: b"".join(
            bytes([byte_of[character]]) if character in byte_of else character.encode() for character in name
        )
    if "Metaspace" in kind or "▁" in kind:
        return lambda name: name.replace("▁", " ").encode()
    return lambda name: (name[2:] if name.startswith("##") else " " + name).encode()
