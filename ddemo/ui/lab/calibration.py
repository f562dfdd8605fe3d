"""Calibration of the running checkpoint: is it right as often as it is sure, and where does the bound come from?"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from torch import Tensor

from ddemo.calibration import Calibration, calibrate
from ddemo.errors import InputError
from ddemo.figures.look import PAGE
from ddemo.figures.noise.calibration import STRETCHES, integrand_figure, reliability_figure
from ddemo.figures.tables import csv_text
from ddemo.metrics import text_windows
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, Update, View, Work
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
A belief is *calibrated* if of all the tokens that the model is 70 % sure of, 70 % are right. Here noise hits a share
$t$ of a text that is known, the checkpoint is asked what stood there, and its likeliest token is compared with the
truth: at every mask, or under uniform noise at every token, since any may be noise. How surprised it is by the truth
is, weighted, the integrand of the bound on what the text costs. On the linear schedule and for masks

$$-\log p(x_0) \;\le\; \int_0^1 \frac{1}{t}\; \mathbb{E}\Bigl[\,\sum_{i\,:\,x_t^i = \text{mask}}
-\log p(x_0^i \mid x_t)\Bigr]\,dt$$

and the area under it, in bits a character, is the number by which checkpoints are compared. A checkpoint can be
calibrated and know little, or know much and be too sure of it.
Sources: [Guo et al. 2017](https://arxiv.org/abs/1706.04599), reliability diagrams;
[MDLM](https://arxiv.org/abs/2406.07524), equations 10 and 11; [UDLM](https://arxiv.org/abs/2412.10193) for uniform
noise.
"""
SHIPPED = Path(__file__).with_name("held_out.txt")
SOURCES = {"shipped": "held-out sentences", "own": "your own text"}
WINDOW = 64  # tokens
MOST_WINDOWS = 400
EVERY = 0.3  # seconds between two figures
SAID = "bits a character"


@cache
def shipped_text() -> str:
    """Sentences of novels in the public domain that the shipped checkpoints were not trained on, one a line.

    From the validation split of the public repository "classic-books-markdown" (mlschmitt).
    """
    return SHIPPED.read_text(encoding="utf-8")


def windows_of(values: Mapping[str, Any], resident: Resident) -> tuple[list[Tensor], list[int]]:
    """Tokens and characters of each line of the text that was chosen; a long line makes several.

    Raises:
        InputError: for no text, or too much of it, or one that the checkpoint cannot read.
    """
    text = values["text"] if values["source"] == "own" else shipped_text()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError("There is no text to mask: write some sentences, a line each.")
    windows, characters = text_windows(resident.codec, lines, min(WINDOW, resident.max_length))
    if len(windows) > MOST_WINDOWS:
        raise InputError(f"The text makes {len(windows):,} windows, more than the {MOST_WINDOWS} that are read here.")
    return windows, characters


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """What will be asked; a figure that is there stays until the next run."""
    check(resident)
    if values["source"] == "own" and not values["text"].strip():
        return {"text": gr.update(visible=True), "asked": table("", [], [])}
    windows, characters = windows_of(values, resident)
    tokens = sum(map(len, windows))
    rows = [[f"{len(windows):,}", f"{tokens:,}", f"{sum(characters):,}", f"{len(windows) * values['times']:,}"]]
    columns = ["windows", "tokens", "characters", "noised windows"]
    own = gr.update(visible=values["source"] == "own")
    return {"text": own, "asked": table("What is measured", columns, rows)}


def check(resident: Resident) -> None:
    """Raises InputError for a checkpoint that no share of tokens can be noised for."""
    if resident.process == "gaussian":
        raise InputError(
            f"{resident.id} reads words through Gaussian noise on their embeddings, which replaces no token: "
            "this needs a checkpoint for masks or for uniform noise."
        )


def carry_out(values: Mapping[str, Any], resident: Resident, stopped: Callable[[], bool]) -> Iterator[Update]:
    """Measure window by window, beside the runs of others; what was measured stays when it is stopped."""
    check(resident)
    windows, characters = windows_of(values, resident)
    resident.await_weights(stopped)
    with resident.at_work() as (checkpoint, _):
        words = ~checkpoint.codec.never_drawn
        measuring = calibrate(checkpoint.denoiser, windows, characters, values["times"], values["seed"], words)
        yield from _told(measuring, len(windows), f"{resident.id}, {SOURCES[values['source']]}", stopped)


def _told(
    measuring: Iterator[Calibration], windows: int, named: str, stopped: Callable[[], bool]
) -> Iterator[Update]:
    told = -math.inf
    for found in measuring:
        done = len(found.nats)
        if done == windows:
            yield Update(f"All {done} windows are measured.", shown(found, named))
        elif stopped():
            yield Update(f"Stopped after {done} of {windows} windows.", shown(found, named))
            return
        elif time.monotonic() - told > EVERY:
            told = time.monotonic()
            yield Update(f"{done} of {windows} windows.", shown(found, named))


def shown(found: Calibration, named: str) -> dict[str, Any]:
    """Both figures and the numbers."""
    bits, integrand, whole = found.bits_per_char, found.integrand, found.reliability()
    head = f"Sure against right: {named}"
    told = ", ".join(f"sure {sure:.2f}, right {right:.2f} of {count}" for count, sure, right in whole.bins)
    title = f"The bound: {with_error(*bits)} {SAID}"
    rows = zip(range(len(integrand)), integrand, strict=True)
    return {
        "reliability": figure_message(
            reliability_figure(found, head, PAGE),
            "reliability",
            f"{head}. {told or 'Nothing was masked yet'}.",
            csv_text(["count", "confidence", "accuracy"], whole.bins),
        ),
        "integrand": figure_message(
            integrand_figure(integrand, bits, title, PAGE),
            "bound-integrand",
            f"{title}.",
            csv_text(["t", "bits_per_char", "stderr"], [[(at + 0.5) / len(integrand), *pair] for at, pair in rows]),
        ),
        "numbers": _numbers(found, bits),
    }


def _numbers(found: Calibration, bits: tuple[float, float]) -> str:
    rows = []
    for name, low, high in (*STRETCHES, ("all t", 0.0, 1.0)):
        part = found.reliability(low, high)
        sure, right = part.means
        cells = [sure, right, right - sure, part.error]
        rows.append([name, f"{part.total:,}", *map(_number, cells)])
    said = [
        f"The bound on these windows is {with_error(*bits)} {SAID}; its standard error is over windows.",
        f"Expected calibration error over all t, the mean distance of the bins from the diagonal: "
        f"{_number(found.reliability().error)}.",
    ]
    columns = ["", "positions", "confidence", "right", "right less confidence", "calibration error"]
    return table("Calibration by how much is noised", columns, rows, said)


def with_error(value: float, error: float) -> str:
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


VIEW = View(
    "calibration",
    "Calibration",
    WORDS,
    (
        Choice("source", "Text", SOURCES, "shipped"),
        Range("times", "Noise levels a window", 1, 32, 1, 8),
        Range("seed", "Seed", 0, 99, 1, 0),
        Written("text", "Your own text", "", "Sentences, a line each; used where your own text is chosen.", lines=3),
    ),
    (
        Part("asked", "numbers"),
        Part("reliability", "plot", wide=False),
        Part("integrand", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
    of_checkpoint=True,
    work=Work("Measure", carry_out),
    updated=("text",),
)
