"""python -m ddemo.training --data FILE --out DIR (--steps N | --minutes M): trains a diffusion model of text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ddemo.training.arithmetic import DTYPES
from ddemo.training.config import PROCESSES, TrainingConfig
from ddemo.training.loop import train
from ddemo.training.objective import LOSSES
from ddemo.training.optimizers import OPTIMIZERS


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m ddemo.training", description=__doc__)
    default = TrainingConfig

    def option(name: str, kind, text: str, **more) -> None:
        usual = getattr(default, name.replace("-", "_"))
        shown = " ".join(map(str, usual)) if isinstance(usual, tuple) else usual
        told = text if usual is None else f"{text} (default: {shown})"
        result.add_argument(f"--{name}", type=kind, default=usual, help=told, **more)

    result.add_argument("--data", type=Path, required=True, help="a .txt or .jsonl file, either also as .xz")
    result.add_argument("--out", type=Path, required=True, help="directory of the run")
    result.add_argument(
        "--resume",
        nargs="?",
        const="state",
        choices=("state", "plateau"),
        help="go on where the run stopped (state), or from before its learning rate came down (plateau)",
    )
    option("steps", int, "end after so many steps")
    option("minutes", float, "end after so many minutes, counted over all resumptions")
    option("seed", int, "of windows, masks and new weights")
    option(
        "init",
        str,
        "first weights: the MiniLM package, a directory (encoder, checkpoint, converted decoder), or none",
    )
    option("vocab-size", int, "entries of the tokenizer")
    option("layers", int, "transformer layers")
    option("width", int, "hidden size")
    option("heads", int, "attention heads")
    option("positions", int, "longest canvas, in tokens")
    option("latent-dim", int, "dimension of the embeddings that the latent process noises")
    option("process", str, "the noise: masks, random words, or Gaussian noise on embeddings", choices=PROCESSES)
    option("loss", str, "ce: plain cross-entropy; bound: as the likelihood bound weighs it", choices=LOSSES)
    option("tokens-per-step", int, "tokens in a batch")
    option("lengths", int, "window lengths, one of which is drawn each step", nargs="+")
    option("length-weights", float, "how often each length is drawn", nargs="+")
    option("at-paragraph", float, "share of windows that start where a paragraph does")
    option("optimizer", str, "muon (for the layers' matrices, AdamW for the rest) or adamw", choices=OPTIMIZERS)
    option("lr", float, "learning rate on the plateau")
    option("warmup", int, "steps up to it")
    option("decay", float, "last share of the run, over which the rate goes to 0")
    option("weight-decay", float, "of the matrices")
    option("clip", float, "largest norm of the gradient")
    option("ema", float, "decay of the averaged weights, per step")
    option("device", str, "auto, cpu, cuda or mps")
    option("dtype", str, "of products, weights are float32; auto: bfloat16 where that is faster", choices=DTYPES)
    option("log-every", int, "steps between lines of metrics")
    option("valid-every", int, "steps between validations")
    option("valid-windows", int, "windows in a validation")
    option("valid-times", int, "times drawn for each of them")
    option("save-minutes", float, "minutes between saved states")
    return result


def main(arguments: list[str] | None = None) -> int:
    options = vars(parser().parse_args(arguments))
    resume = options.pop("resume")
    for field in ("lengths", "length_weights"):
        options[field] = tuple(options[field])
    try:
        progress = train(TrainingConfig(**options), resume)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    best = "not measured yet" if progress.best is None else f"{progress.best:.4f} nats/token"
    print(f"{progress.step} steps, {progress.tokens:,} tokens; best bound on held-out text: {best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
