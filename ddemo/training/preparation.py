"""What a run needs before its first step, kept in its directory: tokenizer, tokens, validation windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import AutoTokenizer

from ddemo.denoisers.codec import TextCodec
from ddemo.errors import InputError
from ddemo.metrics import text_windows
from ddemo.training.config import TrainingConfig
from ddemo.training.data import TokenFile, open_tokens, read_documents, write_tokens
from ddemo.training.decoder import check_decoder, is_decoder
from ddemo.training.tokenizer import (
    END_OF_TEXT,
    MASK,
    NEWLINE,
    load_tokenizer,
    own_tokenizer,
    sample_evenly,
    save_tokenizer,
    train_tokenizer,
)

WINDOW = 128  # tokens in a validation window
TOKENIZER_SAMPLE = 80_000_000  # characters that the tokenizer is trained on, at most


class Prepared(NamedTuple):
    """What a run is made of besides its settings.

    Attributes:
        data: the training tokens.
        valid: validation windows, and the characters of each.
        words: [V] bool, what noise may consist of.
    """

    tokenizer: Tokenizer
    data: TokenFile
    valid: tuple[list, list]
    words: torch.Tensor

    @property
    def mask_id(self) -> int:
        return self.tokenizer.token_to_id(MASK)


def prepare(config: TrainingConfig, resuming: bool = False) -> Prepared:
    """Tokenizer and training tokens, which are made once and then read from the run's directory, and the rest.

    Raises InputError for text that cannot be
    read, ValueError when resuming a run that was made from something else, and as `check_decoder` does.
    """
    if is_decoder(Path(config.init)):
        check_decoder(Path(config.init), config.process, max(config.lengths))
    cache = config.out / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    size = config.data.stat().st_size if config.data.exists() else 0
    stamp = {"data": str(config.data), "bytes": size, "vocab_size": config.vocab_size, "init": config.init}
    stamp_file = cache / "stamp.json"
    if not stamp_file.is_file() or json.loads(stamp_file.read_text()) != stamp:
        if resuming:
            raise ValueError("data, vocab_size and init must stay as they were to resume")
        for old in cache.iterdir():
            old.unlink()
        total = sum(map(len, read_documents(config.data, "train")))
        if not total:
            raise InputError(f"{config.data.name} has no text in its train split")
        save_tokenizer(_tokenizer_for(config, total), cache, config.positions)
        tokenizer = load_tokenizer(cache)
        end = tokenizer.token_to_id(END_OF_TEXT)
        with tqdm(total=total, unit="char", unit_scale=True, desc="encoding") as bar:
            write_tokens(tokenizer, read_documents(config.data, "train"), cache / "train.tokens", end, bar.update)
        stamp_file.write_text(json.dumps(stamp))
    tokenizer = load_tokenizer(cache)
    end = tokenizer.token_to_id(END_OF_TEXT)
    data = open_tokens(cache / "train.tokens", newline=tokenizer.token_to_id(NEWLINE), end_of_text=end)
    window = min(WINDOW, config.shape.canvas)
    codec = TextCodec(AutoTokenizer.from_pretrained(cache), tokenizer.get_vocab_size(), tokenizer.token_to_id(MASK))
    windows, characters = text_windows(codec, read_documents(config.data, "valid"), window)
    keep = [i * len(windows) // config.valid_windows for i in range(min(config.valid_windows, len(windows)))]
    valid = [windows[i] for i in keep], [characters[i] for i in keep]
    return Prepared(tokenizer, data, valid, ~codec.never_drawn)


def _tokenizer_for(config: TrainingConfig, total: int) -> Tokenizer:
    """The tokenizer of a checkpoint of this project that training starts from, or a new one."""
    if (tokenizer := own_tokenizer(Path(config.init))) is not None:
        return tokenizer
    print("training the tokenizer", flush=True)
    documents = read_documents(config.data, "train")
    return train_tokenizer(sample_evenly(documents, total, TOKENIZER_SAMPLE), config.vocab_size)
