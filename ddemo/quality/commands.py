"""The commands `prose`, `infilling` and `repair` of `python -m ddemo`."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ddemo import terminal


def prose(options: argparse.Namespace) -> None:
    """What a checkpoint writes after held-out prompts, beside the real text and an autoregressive judge's."""
    from ddemo.quality.prose import as_markdown, grid, measure_prose

    _check_document(options)
    checkpoint = terminal.load(options)
    settings = ("sampler", "temperature", "top_p", "steps", "block_length", "eta", "clamp")
    cells = grid(checkpoint.denoiser.process, _given(options, *settings))
    numbers = _given(options, "texts", "length", "prompt", "seed")
    documents, judge = _held_out(options), _judge(options)
    with terminal.progress_bar("texts") as tell:
        result = measure_prose(checkpoint, documents, judge, cells, together=options.batch, progress=tell, **numbers)
    _report(options, result, as_markdown(result))


def infilling(options: argparse.Namespace) -> None:
    """How much of a masked span a checkpoint restores in held-out sentences, against simple baselines."""
    from ddemo.quality.infilling import as_markdown, measure_infilling
    from ddemo.training.data import read_documents

    _check_document(options)
    checkpoint, training = terminal.load(options), read_documents(options.data, "train")
    numbers = _given(options, "spans", "sentences", "context", "characters", "seed")
    documents, judge = _held_out(options), _judge(options)
    with terminal.progress_bar("texts") as tell:
        result = measure_infilling(
            checkpoint, documents, training, judge, together=options.batch, progress=tell, **numbers
        )
    _report(options, result, as_markdown(result))


def repair(options: argparse.Namespace) -> None:
    """How many deliberately wrong tokens a checkpoint puts right, and how many right ones it spoils."""
    from ddemo.denoisers import load_checkpoint
    from ddemo.quality.repair import as_markdown, measure_repair

    _check_document(options)
    names = (options.checkpoint, *options.against)
    checkpoints = [load_checkpoint(name, options.device, options.dtype) for name in names]
    numbers = _given(options, "shares", "windows", "length", "steps", "seed")
    documents, judge = _held_out(options), _judge(options)
    with terminal.progress_bar("windows") as tell:
        result = measure_repair(checkpoints, documents, judge, together=options.batch, progress=tell, **numbers)
    _report(options, result, as_markdown(result))


# ---------------------------------------------------------------- what they share


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options that were given; what is missing keeps the default of the measurement."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _held_out(options: argparse.Namespace) -> list[str]:
    from ddemo.training.data import read_documents

    return list(read_documents(options.data, options.split))


def _judge(options: argparse.Namespace):
    from ddemo.judge import load_judge

    return None if options.judge == "none" else load_judge(options.judge)


def _check_document(options: argparse.Namespace) -> None:
    """Raise InputError for a document without a place for the result, before minutes have gone by."""
    from ddemo import documentation

    if options.write:
        documentation.part_of(Path(options.write).read_text(encoding="utf-8"), options.part)


def _report(options: argparse.Namespace, result: Any, table: str) -> None:
    from ddemo import documentation

    terminal.show(options, asdict(result), table)
    if options.write:
        documentation.write_part(options.write, options.part, table)


# ---------------------------------------------------------------- how they are called


def add_commands(add: Callable[[Callable], argparse.ArgumentParser]) -> None:
    """Put the three commands in a parser; `add` makes the parser of one."""
    _add_prose(add(prose))
    _add_infilling(add(infilling))
    _add_repair(add(repair))


def _add_prose(parser: argparse.ArgumentParser) -> None:
    _add_shared(parser, "prose")
    parser.add_argument("--texts", type=int, help="how many prompts (default: 32)")
    parser.add_argument("--length", type=int, help="tokens after each (default: 48)")
    parser.add_argument("--prompt", type=int, help="tokens of a prompt at most (default: 12)")
    for name, kind, said in (
        ("sampler", str, "samplers of the grid; some of the checkpoint's noise by default"),
        ("temperature", float, "its temperatures, 0 for argmax (default: 0 0.7 1)"),
        ("top_p", float, "its values of top-p (default: 1)"),
        ("steps", int, "its numbers of steps (default: 64)"),
        ("block_length", int, "its block lengths (default: 0, one block)"),
        ("eta", float, "its values of eta, for samplers that read it (default: each sampler's own)"),
        ("clamp", str, "of samplers on embeddings: off, nearest or both (default: off)"),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, nargs="+", help=said)


def _add_infilling(parser: argparse.ArgumentParser) -> None:
    _add_shared(parser, "infilling")
    parser.add_argument("--spans", type=int, nargs="+", help="numbers of masked tokens (default: 1 4 16)")
    parser.add_argument("--sentences", type=int, help="how many (default: 64)")
    parser.add_argument("--context", type=int, help="tokens around the longest span at least (default: 8)")
    parser.add_argument(
        "--characters", type=int, help="of the training split that baselines are counted on (default: 4,000,000)"
    )


def _add_repair(parser: argparse.ArgumentParser) -> None:
    _add_shared(parser, "repair")
    parser.add_argument("--against", nargs="*", default=[], help="other checkpoints with the same tokens")
    parser.add_argument("--shares", type=float, nargs="+", help="of wrong tokens (default: 0.05 0.15 0.3)")
    parser.add_argument("--windows", type=int, help="how many (default: 32)")
    parser.add_argument("--length", type=int, help="tokens of a window (default: 64)")
    parser.add_argument("--steps", type=int, help="that each run takes (default: 16)")


def _add_shared(parser: argparse.ArgumentParser, part: str) -> None:
    parser.set_defaults(part=part)
    parser.add_argument("--data", required=True, help="a .txt or .jsonl file, either also as .xz")
    parser.add_argument("--split", default="valid", help=f"of the data: train or valid {terminal.DEFAULT}")
    parser.add_argument("--seed", type=int, default=0, help=f"of texts and runs {terminal.DEFAULT}")
    parser.add_argument("--batch", type=int, default=16, help=f"texts that are run together {terminal.DEFAULT}")
    parser.add_argument("--judge", help="a path or Hub id, or none; by default the one that is installed")
    parser.add_argument("--json", action="store_true", help="everything, with the texts")
    parser.add_argument("--write", metavar="FILE", help=f"put the table in a document, between its {part} markers")
