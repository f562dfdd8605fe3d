"""Where a checkpoint's tokenizer comes from: its own directory, or the one that its authors name."""

import json
import warnings
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.utils import logging as transformers_logging

from ddemo.errors import InputError

FILES = ("tokenizer.json", "vocab.txt")  # one of them makes a tokenizer
PAIR = ("vocab.json", "merges.txt")  # both together do, too
BESIDE = ("config.json", "tokenizer_config.json")  # what else is read of it


def brings_tokenizer(directory: Path) -> bool:
    return any((directory / file).is_file() for file in FILES) or _brings_pair(directory)


def _brings_pair(directory: Path) -> bool:
    return all((directory / file).is_file() for file in PAIR)


def read_tokenizer(directory: Path, name: str | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer in a directory; `name` is what messages call it, the directory's own name if not given.

    Raises:
        InputError: damaged, or of a kind that is not read here.
    """
    name = name or directory.name
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"):  # of old settings in config.json, which nobody can change
            reader = _reader_of(directory)
            tokenizer = reader.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # the libraries trip over damaged files in every way there is
        raise InputError(f"The tokenizer of {name} cannot be read ({type(problem).__name__}).") from problem
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"The tokenizer of {name} is of a kind that is not read here (tokenizer.json is).")
    return tokenizer


def _reader_of(directory: Path) -> type:
    """Which class reads a directory's tokenizer.

    One that asks for code of its own is read without it: tokenizer.json says all that is needed, and of those that
    come as `PAIR`, Dream's and its relatives' are Qwen2's tokenizer with other special tokens.
    """
    try:
        settings = json.loads((directory / BESIDE[1]).read_text())
    except (OSError, ValueError, RecursionError):
        return AutoTokenizer
    if not (isinstance(settings, dict) and settings.get("auto_map")):
        return AutoTokenizer
    return PreTrainedTokenizerFast if (directory / FILES[0]).is_file() else Qwen2Tokenizer


def borrowed_tokenizer(repositories: tuple[str, ...], borrower: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a Hub repository, for a checkpoint that comes without one: from the cache, else fetched.

    Args:
        repositories: the names that the repository has had, the present one first.
        borrower: the checkpoint, for messages.

    Raises:
        InputError: neither in the cache nor to be fetched.
    """
    for repository in repositories:
        found = try_to_load_from_cache(repository, FILES[0])
        if isinstance(found, str):
            return read_tokenizer(Path(found).parent, repository)
    repository = repositories[0]
    try:
        for file in (*BESIDE, FILES[0]):
            found = hf_hub_download(repository, file)
    except Exception as problem:  # no network, no such file, no room: the sentence is the same
        raise InputError(
            f"{borrower} comes without a tokenizer, and that of {repository} is neither in the cache nor to be had "
            f"({type(problem).__name__}): put its tokenizer.json beside the weights, or connect to the Hub once."
        ) from problem
    return read_tokenizer(Path(found).parent, repository)


def frame_of(tokenizer: PreTrainedTokenizerFast) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a tokenizer puts before and after every text, such as BERT's [CLS] and [SEP].

    A tokenizer with a chat template puts nothing there: it belongs to a network that was tuned on what the template
    gives, as ModernBERT-chat.
    """
    if tokenizer.chat_template is not None:
        return (), ()
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    at = next((at for at in range(len(whole)) if bare and whole[at : at + len(bare)] == bare), None)
    return ((), ()) if at is None else (tuple(whole[:at]), tuple(whole[at + len(bare) :]))
