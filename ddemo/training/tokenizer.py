"""A byte-level BPE that gives every text back as it was, with the newline as a token of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

PAD, MASK, END_OF_TEXT = SPECIAL = "[PAD]", "[MASK]", "<|endoftext|>"  # which take the first ids
NEWLINE = "Ċ"  # how the byte alphabet spells "\n"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains on all of the texts. The special tokens take the first three ids.

    Raises ValueError when vocab_size leaves no room beside the 256 bytes and the special tokens, or exceeds uint16.
    """
    if not 259 <= vocab_size <= 65_536:
        raise ValueError(f"vocab_size must be 259 to 65536, not {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    cut_at_lines(tokenizer)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def cut_at_lines(tokenizer: Tokenizer) -> None:
    """Text becomes bytes and comes back, and no token crosses the end of a line."""
    # The newline is split off first: glued to the words after it, every paragraph's first word would be a stranger.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("\n"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()


def sample_evenly(documents: Iterable[str], total: int, characters: int, piece: int = 20_000) -> Iterator[str]:
    """About `characters` of documents that hold `total`, in pieces from everywhere, so that no author prevails."""
    stride = max(1.0, total / characters)
    position = 0.0
    for document in documents:
        while position < len(document):
            yield document[int(position) : int(position) + piece]
            position += piece * stride
        position -= len(document)


def save_tokenizer(tokenizer: Tokenizer, directory: Path, max_length: int, begins: str | None = None) -> None:
    """Writes the files that AutoTokenizer.from_pretrained reads: mask, pad and eos set, no clean-up on decoding.

    begins: the token that stands before every text, for a network that needs one.
    """
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        mask_token=MASK,
        eos_token=END_OF_TEXT,
        bos_token=begins,
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )
    wrapped.save_pretrained(directory)
    # Transformers 5 writes its own new name of this class, which version 4 does not know; both know the old one.
    file = directory / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(settings, indent=2) + "\n")


def load_tokenizer(directory: Path) -> Tokenizer:
    """The `tokenizers` object of a directory, reading special tokens in text as the text that they are."""
    tokenizer = AutoTokenizer.from_pretrained(directory).backend_tokenizer
    tokenizer.encode_special_tokens = True
    return tokenizer


def own_tokenizer(directory: Path) -> Tokenizer | None:
    """The tokenizer of a directory that this project wrote; None where there is none, or another's."""
    if not (directory / "tokenizer.json").is_file():
        return None
    tokenizer = load_tokenizer(directory)
    return tokenizer if all(tokenizer.token_to_id(t) is not None for t in (MASK, END_OF_TEXT, NEWLINE)) else None
