"""The exact world as a checkpoint: a denoiser that is never wrong, in the files that the ordinary loader reads."""

import json
import math
import re
from pathlib import Path
from textwrap import fill

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ddemo.denoisers.codec import TextCodec, check_encodable, visible
from ddemo.errors import InputError
from ddemo.processes.exact import SENTENCES, SPREAD, WORDS, ExactWorld, split_words

MODEL_TYPE = "ddemo_exact_world"
PROCESSES = ("absorbing", "uniform")
PREDICTIONS = ("posterior", "leave-one-out")
PAD, MASK = "[PAD]", "[MASK]"  # the two ids after the words


class ExactWorldDenoiser:
    """The true p(x0 | x_t) of an `ExactWorld`, as float32 log-probabilities; see `Denoiser`.

    Token ids are the world's words, then [PAD], then [MASK]. Under uniform noise every word is read as noised by its
    position's share. A mask or padding says nothing under either.
    Under absorbing noise a position that holds a word is answered with p(x0_i | x_t without i): what would stand
    there were it masked.

    Raises:
        ValueError: process or predicts is neither of its two names.
    """

    device = torch.device("cpu")  # float64 is not to be had everywhere, and a call takes a few milliseconds

    def __init__(self, world: ExactWorld, id: str, process: str, predicts: str = "posterior"):
        if process not in PROCESSES:
            raise ValueError(f"process must be one of {', '.join(PROCESSES)}, not {process!r}")
        if predicts not in PREDICTIONS:
            raise ValueError(f"predicts must be one of {', '.join(PREDICTIONS)}, not {predicts!r}")
        self.world = world
        self.id = id
        self.process = process
        self.predicts = predicts
        self.takes_time = process == "uniform"
        self.vocab_size = world.size + 2
        self.mask_id = world.size + 1
        self.max_length = world.length

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        size = self.world.size
        alpha = 1.0 - times.to(torch.float64) if self.takes_time else 1.0  # a word under absorbing noise is certain
        words = (tokens < size) & (torch.arange(tokens.shape[1]) < lengths[:, None])
        evidence = self.world.uniform_evidence(tokens.where(words, 0), alpha).where(words[..., None], 1.0)
        if self.takes_time and self.predicts == "posterior":
            p = self.world.posterior(evidence)
        else:
            p = self.world.leave_one_out(evidence)
        logits = torch.full((int(wanted.sum()), self.vocab_size), -math.inf, dtype=torch.float32)
        logits[:, :size] = p[wanted].log().float()
        return logits


class WordCodec(TextCodec):
    """Text of a checkpoint that knows a few whole words and nothing else."""

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """As `TextCodec.encode`.

        Raises:
            InputError: also for a word that the checkpoint does not have.
        """
        check_encodable(text)
        backend = self.tokenizer.backend_tokenizer
        for piece, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text):
            if backend.token_to_id(piece) is None:
                word, known = visible(text[start:end][:40]), ", ".join(repr(word) for word in self.words[:20])
                raise InputError(f"This checkpoint has no word {word!r}: it only knows {known}.")
        return super().encode(text)

    @property
    def words(self) -> list[str]:
        """How each word is written, space included."""
        return [self.piece(token).decode() for token in (~self.never_drawn).nonzero().flatten().tolist()]


def load_exact_world(directory: Path, codec: WordCodec, process: str, canvas_limit: int) -> ExactWorldDenoiser:
    """The denoiser of a directory as `write` makes it.

    Raises:
        InputError: the table is damaged or does not fit vocabulary and config.
    """
    table = _read_table(directory)
    try:
        spread = table["spread"].to(torch.float64).sum().item()
        if spread <= 0:
            raise ValueError(f"spread must be positive, so that every text is possible, not {spread}")
        world = ExactWorld.from_texts(table["texts"], table["weights"], spread, codec.words)
    except ValueError as problem:
        raise InputError(f"The weights of {directory.name} are damaged: {problem}.") from problem
    denoiser = ExactWorldDenoiser(world, directory.name, process)
    if (denoiser.vocab_size, denoiser.mask_id) != (codec.vocab_size, codec.mask_id) or canvas_limit != world.length:
        raise InputError(
            f"{directory.name} is damaged: its config.json, its tokenizer and its table of {world.length} positions "
            f"and {world.size} words do not fit each other."
        )
    return denoiser


def _read_table(directory: Path) -> dict[str, Tensor]:
    table = {}
    try:
        for file in sorted(directory.glob("*.safetensors")):
            table |= load_file(file)
    except (SafetensorError, OSError, ValueError) as problem:  # their own messages hold paths
        raise InputError(f"The weights of {directory.name} cannot be loaded ({type(problem).__name__}).") from problem
    if missing := sorted({"texts", "weights", "spread"} - set(table)):
        raise InputError(f"The weights of {directory.name} are incomplete: {missing[0]} is missing.")
    return table


def bits_per_character(world: ExactWorld) -> float:
    """The entropy of the world's texts over their mean number of characters: no model of it can need fewer."""
    characters = torch.tensor([len(word) for word in world.words], dtype=torch.float64)
    mean = sum((world.marginal([i]) @ characters).item() for i in range(world.length))
    return world.entropy() / math.log(2) / mean


def write(directory: str | Path, process: str) -> None:
    """Write the shipped world as a checkpoint: config, table, tokenizer and card. `process`: see `Denoiser`."""
    if process not in PROCESSES:
        raise ValueError(f"process must be one of {', '.join(PROCESSES)}, not {process!r}")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    texts = [split_words(text) for text in SENTENCES]
    config = {
        "architectures": ["ExactWorld"],
        "model_type": MODEL_TYPE,
        "process": process,
        "vocab_size": len(WORDS) + 2,
        "canvas_length": len(texts[0]),
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "mask_token": MASK,
        "clean_up_tokenization_spaces": False,
        "model_max_length": len(texts[0]),
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n", encoding="utf-8")
    _tokenizer().save(str(directory / "tokenizer.json"))
    table = {
        "texts": torch.tensor([[WORDS.index(word) for word in text] for text in texts]),
        "weights": torch.tensor(list(SENTENCES.values()), dtype=torch.float64),
        "spread": torch.tensor(SPREAD, dtype=torch.float64),
    }
    (directory / "model.safetensors").write_bytes(save(table, metadata={"format": "pt"}))
    (directory / "README.md").write_text(_card(process), encoding="utf-8")


def _tokenizer() -> Tokenizer:
    """Whole words, each with its own space. Any words in a row are cut where they meet, as in "TheThe king.."."""
    spelled = bytes_to_unicode()
    names = ["".join(spelled[byte] for byte in word.encode()) for word in WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: token for token, name in enumerate([*names, PAD, MASK])}))
    # A word ends where no small letter follows, so that " kingdom" is one unknown word.
    known = "|".join(re.escape(word) + (r"(?!\p{Ll})" if word[-1].isalpha() else "") for word in WORDS)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(known), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in (PAD, MASK)])
    return tokenizer


NOISE = {
    "absorbing": ("exact-world", "absorbing (mask) noise", "p(x0 | x_t) given the words that still stand"),
    "uniform": (
        "exact-world-uniform",
        "uniform noise, under which a word turns into any of the ten",
        "p(x0 | x_t) given all of x_t, each word of which survived with probability alpha",
    ),
}


def _card(process: str) -> str:
    """The README, with its numbers computed."""
    name, noise, answer = NOISE[process]
    world = ExactWorld.sentences()
    about = fill(
        f"A made-up world of six-word texts whose every probability is known, seen as a checkpoint for {noise}. "
        f"The denoiser is no network: it answers with the true {answer}, computed in float64 from the joint "
        "distribution. Samplers are held against it, and it shows what a perfect denoiser still gets wrong when "
        "words are committed at once.",
        width=118,
    )
    sentences = "\n".join(f"| {text} | {weight:.2f} |" for text, weight in SENTENCES.items())
    cuts = ([6], [3, 3], [2, 2, 2], [1] * 6)
    costs = "\n".join(f"| {' + '.join(map(str, s))} | {world.average_parallel_cost(s):.3f} |" for s in cuts)
    return f"""---
language: en
tags: [discrete-diffusion, synthetic]
---

# {name}

{about}

## The world

Ten words, six positions, 10^6 texts. Ten sentences share {1 - SPREAD:.2f} of the probability:

| sentence | share |
|---|---|
{sentences}

The remaining {SPREAD:.2f} is spread evenly over all texts, so that every conditional exists. Texts shorter than six
words are the beginnings of longer ones.

## Computed

- Entropy: {world.entropy():.4f} nats a text, {bits_per_character(world):.4f} bits a character.
- Words committed at once are drawn independently. What that costs, KL(world || result) in nats, averaged over all
  orders of positions:

| words committed at each step | nats |
|---|---|
{costs}

## Files

`model.safetensors` holds the ten texts, their weights and the share that is spread; `config.json` names the noise.
The tokenizer has the ten words, each with its own space, and [PAD] and [MASK]; any other word is refused. Made by

```
python -c "from ddemo.denoisers.exact_world import write; write('checkpoints/{name}', '{process}')"
```
"""
