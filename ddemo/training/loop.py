"""The training loop: one run in one directory, resumable to the step.

The directory of a run holds: `checkpoint/` (the best weights so far, as Transformers reads them) and `best.json`,
`metrics.jsonl`, `curve.svg`, `state.pt` (to resume), `plateau.pt` (the state before the learning rate came down, to
prolong a run that has ended), `settings.json`, and `cache/`.
"""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from ddemo.training.config import TrainingConfig
from ddemo.training.plot import plot_curve
from ddemo.training.preparation import prepare
from ddemo.training.run import Progress, Run


def train(config: TrainingConfig, resume: str | None = None) -> Progress:
    """Runs training to its end, or until SIGINT or SIGTERM, after which it can be resumed.

    resume: None for a new run, `state` to go on where it stopped, `plateau` to go on from before the learning rate
    came down. Raises ValueError for nothing to resume, a new run where there is one, or settings that do not fit.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    transformers_logging.disable_progress_bar()  # one bar is enough
    if resume is None:
        _check_is_free(config.out)
    elif not (config.out / f"{resume}.pt").exists():
        raise ValueError(f"nothing to resume: there is no {config.out / resume}.pt")
    run = Run(config, prepare(config, resuming=resume is not None))
    if resume:
        run.load_state(f"{resume}.pt")
    # Only now is it known that the run goes on with these.
    (config.out / "settings.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    with MetricsFile(config.out / "metrics.jsonl", run.progress.step) as metrics, interruptible() as interrupted:
        _loop(run, metrics, interrupted)
    run.save_state()
    return run.progress


def _check_is_free(out: Path) -> None:
    """Raises ValueError where another run left something: a new one would be held against its best bound."""
    if any((out / name).exists() for name in ("state.pt", "plateau.pt")):
        raise ValueError(f"{out} holds a run: resume it, or choose another directory")
    if (out / "best.json").exists():
        raise ValueError(f"{out} holds the checkpoint of a run that cannot be resumed: choose another directory")


def _loop(run: Run, metrics: MetricsFile, interrupted: list) -> None:
    config, progress = run.config, run.progress
    before, clock = progress.seconds, time.monotonic()
    last_save, last_log = clock, (clock, progress.tokens)
    # With --minutes the number of steps is not known beforehand, so the bar counts thousandths of the run.
    layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    bar = tqdm(total=1000, initial=int(1000 * progress.share(config)), desc="training", bar_format=layout)
    with bar:
        while progress.share(config) < 1 and not interrupted:
            on_plateau = progress.share(config) < 1 - config.decay
            figures = run.step()
            now = time.monotonic()
            progress.seconds = before + now - clock
            if on_plateau and progress.share(config) >= 1 - config.decay:
                run.save_state("plateau.pt")
            if progress.step % config.log_every == 0:
                figures["tokens_per_second"] = (progress.tokens - last_log[1]) / (now - last_log[0])
                last_log = (now, progress.tokens)
                metrics.write(progress, figures)
                bar.set_postfix_str(
                    f"step {progress.step}, loss {figures['loss']:.3f}, best {progress.best or 0:.3f}"
                )
            bar.update(int(1000 * progress.share(config)) - bar.n)
            if progress.step % config.valid_every == 0 or progress.share(config) >= 1:
                _validate(run, metrics)
            if time.monotonic() - last_save > 60 * config.save_minutes:
                run.save_state()
                last_save = time.monotonic()


def _validate(run: Run, metrics: MetricsFile) -> None:
    result, progress = run.validate(), run.progress
    metrics.write(progress, {"valid_" + k: v for k, v in result.to_dict().items()})
    tqdm.write(
        f"step {progress.step}, {progress.tokens / 1e6:.2f} M tokens: bound {result.nats_per_token:.4f} nats/token, "
        f"{result.bits_per_char:.4f} bits/char (+- {result.bits_per_char_stderr:.4f})"
    )
    run.keep_if_best(result)
    plot_curve(metrics.path, run.config.out / "curve.svg")


class MetricsFile:
    """One JSON object a line; on resuming, lines from after the resumed step are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() and step else []
        kept = itertools.takewhile(lambda line: json.loads(line)["step"] <= step, lines)
        path.write_text("".join(line + "\n" for line in kept))

    def __enter__(self) -> MetricsFile:
        self.file = self.path.open("a", buffering=1)
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def write(self, progress: Progress, figures: dict) -> None:
        where = {"step": progress.step, "tokens": progress.tokens, "seconds": round(progress.seconds, 3)}
        self.file.write(json.dumps(where | figures) + "\n")


@contextmanager
def interruptible() -> Iterator[list]:
    """A list that is filled by SIGINT or SIGTERM: the step at hand is finished, a second signal ends at once."""
    signals: list[int] = []

    def note(number, frame) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    previous = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
