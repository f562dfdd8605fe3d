"""Forward: the visitor's sentence with noise of time t in it, several draws at once, masks beside random words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddemo.denoisers import TextCodec
from ddemo.errors import InputError
from ddemo.figures.look import PAGE
from ddemo.figures.noise.forward import survival_csv, survival_figure, survival_words
from ddemo.figures.spelling import spelled
from ddemo.processes import Schedule
from ddemo.processes.curves import CURVES
from ddemo.processes.information import expected_changes, expected_hybrid, expected_masks
from ddemo.processes.transitions import half_each_word
from ddemo.sampling.canvas import MaskRun, parse_markers
from ddemo.sampling.randomness import uniforms
from ddemo.ui.lab.noised_text import Group, Row, noised_texts
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
Noise hits each token by itself. By time $t$ it has left a token alone with probability $\alpha(t)$, the *noise
schedule*; a token that it has hit is a mask under **absorbing** noise, and a word drawn uniformly from all $K$ under
**uniform** noise, which may by chance be the same word again:

$$q(x_t \mid x_0) = \alpha(t)\,[x_t = x_0] + \bigl(1 - \alpha(t)\bigr)\,\pi(x_t), \qquad
\pi = \delta_{\text{mask}} \ \text{ or } \ \pi = 1/K$$

**Hybrid** noise masks and redraws at the same rate: a token is no mask with probability $\sqrt{\alpha(t)}$, and
untouched with $\alpha(t)$ as before. What is redrawn becomes a mask later, so that it ends in masks too.
Each token of a draw has its own number $u$ and is hit once $\alpha(t)$ has fallen to $1 - u$, the same in all
columns, so that moving $t$ moves along one path of the process.
Source: Austin et al. 2021, [D3PM](https://arxiv.org/abs/2107.03006), section 3.1;
[VQ-Diffusion](https://arxiv.org/abs/2111.14822) for masks and words.
"""
SCHEDULES = {name: name.replace("-", " ") for name in CURVES}
COLUMNS = {"absorbing": "Absorbing: masks", "uniform": "Uniform: random words", "hybrid": "Hybrid: masks and words"}
GAP = "…"
NO_WORDS = "There are no words to put noise in: write a sentence."


@dataclass(frozen=True)
class Sentence:
    """A text as tokens, with gaps where the visitor put masks.

    Attributes:
        tokens: ids of the words' tokens.
        cells: every token's characters and its place among `tokens`; None for a gap.
    """

    tokens: list[int]
    cells: list[tuple[str, int | None]]

    @classmethod
    def read(cls, text: str, codec: TextCodec, limit: int) -> "Sentence":
        """Raises InputError where there are no words, more tokens than `limit`, or characters that are none."""
        tokens: list[int] = []
        cells: list[tuple[str, int | None]] = []
        for part in parse_markers(text):
            if isinstance(part, MaskRun):
                cells.append((f" {GAP} ", None))
                continue
            ids, slices = codec.encode(part)
            cells += [(shown, len(tokens) + at) for at, shown in enumerate(slices)]
            tokens += ids
        if not tokens:
            raise InputError(NO_WORDS)
        if len(tokens) > limit:
            raise InputError(f"The text makes {len(tokens):,} tokens, more than the {limit:,} of this checkpoint.")
        return cls(tokens, cells)


@dataclass(frozen=True)
class Draw:
    """One draw of the noise for L tokens.

    Attributes:
        touched: [L] float64 in [0, 1): a token is hit by the time at which 1 - alpha(t) exceeds its number.
        words: [L] int64, what a hit token is drawn as under uniform noise.
        masked: [L] float64 in [0, 1), decides when a hit token is a mask under hybrid noise.
    """

    touched: Tensor
    words: Tensor
    masked: Tensor

    @classmethod
    def of(cls, seed: int, number: int, length: int, words: Tensor) -> "Draw":
        """The draw of that number; `words` [V] bool are those that noise may draw."""
        ids = words.nonzero().squeeze(-1)
        drawn = (uniforms(seed, number, 0, "prior", length) * len(ids)).long()
        return cls(
            uniforms(seed, number, 0, "noise", length), ids[drawn], uniforms(seed, number, 0, "remask", length)
        )

    def hit(self, schedule: Schedule, t: float) -> Tensor:
        """[L] bool: which tokens noise has hit by time t."""
        return self.touched < schedule.noised(t)

    def is_masked(self, schedule: Schedule, t: float) -> Tensor:
        """[L] bool: which tokens are masks by time t where noise masks and redraws at the same rate.

        Of those that were hit when alpha was 1 - touched, so many are words still as `half_each_word` says.
        """
        word = half_each_word(1.0 - self.touched, schedule.alpha(t))
        return self.hit(schedule, t) & (self.masked >= word)

    def masks(self, process: str, schedule: Schedule, t: float) -> Tensor:
        """[L] bool: which tokens are masks by time t under one of `COLUMNS`; the others that are hit are words."""
        if process == "hybrid":
            return self.is_masked(schedule, t)
        return self.hit(schedule, t) if process == "absorbing" else torch.zeros_like(self.touched, dtype=torch.bool)


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The texts, the numbers and the curve; raises InputError for a text that cannot be read."""
    codec = resident.codec
    sentence = Sentence.read(values["text"], codec, resident.max_length)
    schedule, t, length = CURVES[values["schedule"]], values["t"], len(sentence.tokens)
    words = drawable(codec)
    draws = [Draw.of(values["seed"], number, length, words) for number in range(values["draws"])]
    untouched = [1.0 - float(draw.hit(schedule, t).double().mean()) for draw in draws]
    others = [other for other in CURVES.values() if other is not schedule]
    return {
        "texts": noised_texts([_column(process, sentence, draws, schedule, t, codec) for process in COLUMNS]),
        "numbers": _numbers(sentence, draws, schedule, t, int(words.sum())),
        "curve": figure_message(
            survival_figure(schedule, t, untouched, others, PAGE),
            f"survival-{schedule.name}",
            survival_words(schedule, t, untouched),
            survival_csv(schedule),
        ),
    }


def drawable(codec: TextCodec) -> Tensor:
    """[V] bool: the words of uniform noise: no special token, and no row that stands for nothing."""
    words = ~codec.never_drawn
    words[codec.ends] = False
    return words


def changed(sentence: Sentence, draw: Draw, redrawn: Tensor) -> int:
    """How many of the redrawn tokens [L] bool are another word."""
    return int((redrawn & (draw.words != torch.tensor(sentence.tokens))).sum())


def _column(
    process: str, sentence: Sentence, draws: list[Draw], schedule: Schedule, t: float, codec: TextCodec
) -> Group:
    rows = []
    for number, draw in enumerate(draws, start=1):
        hit, masks = draw.hit(schedule, t).tolist(), draw.masks(process, schedule, t).tolist()

        def cell(shown: str, at: int | None, draw: Draw = draw, hit=hit, masks=masks) -> tuple[str, str]:
            if at is None or not hit[at]:
                return shown, "gap" if at is None else "kept"
            if masks[at]:
                return " ", "mask"
            word = int(draw.words[at])
            return (shown, "same") if word == sentence.tokens[at] else (spaced(codec.piece(word)), "word")

        rows.append(Row(f"draw {number}", [cell(*part) for part in sentence.cells]))
    return Group(COLUMNS[process], rows)


def spaced(piece: bytes) -> str:
    """A token within running text: spaces before it as they are, everything else visible."""
    text = spelled(piece)
    bare = text.lstrip("·")
    return " " * (len(text) - len(bare)) + bare


def _numbers(sentence: Sentence, draws: list[Draw], schedule: Schedule, t: float, size: int) -> str:
    length = len(sentence.tokens)
    expected_hybrid_masks, expected_hybrid_words = expected_hybrid(schedule, t, length, size)
    expected = {
        ("absorbing", "masks"): expected_masks(schedule, t, length),
        ("uniform", "other words"): expected_changes(schedule, t, length, size),
        ("hybrid", "masks"): expected_hybrid_masks,
        ("hybrid", "other words"): expected_hybrid_words,
    }
    rows = []
    for (process, kind), mean in expected.items():
        counts = []
        for draw in draws:
            masks = draw.masks(process, schedule, t)
            words = draw.hit(schedule, t) & ~masks
            counts.append(int(masks.sum()) if kind == "masks" else changed(sentence, draw, words))
        rows.append([f"{process}: {kind}", *(_share(count, length) for count in (mean, *counts))])
    said = [
        f"{length} tokens, K = {size:,} words. alpha({t:g}) = {schedule.alpha(t):.4f}, "
        f"sigma = -log alpha = {schedule.sigma(t):.4g}.",
        f"{schedule.name}: alpha(t) = {schedule.formula}. Source: {schedule.source}.",
    ]
    if schedule.aliases:
        said.append(f"The same curve under other names: {'; '.join(schedule.aliases)}.")
    columns = ["tokens", "expected", *(f"draw {number}" for number in range(1, len(draws) + 1))]
    return table("Tokens that noise has changed, expected and drawn", columns, rows, said)


def _share(count: float, length: int) -> str:
    return f"{count:.4g} ({100 * count / length:.1f} %)"


VIEW = View(
    "forward",
    "Forward",
    WORDS,
    (
        Written(
            "text",
            "Your sentence",
            "",
            "The text of Denoise comes along; its gaps stay gaps.",
        ),
        Range("t", "Time t", 0.0, 1.0, 0.01, 0.5),
        Choice("schedule", "Noise schedule", SCHEDULES, "linear", folded=True),
        Range("draws", "Draws", 1, 6, 1, 3),
        Range("seed", "Seed", 0, 99, 1, 0),
    ),
    (Part("texts", "texts"), Part("numbers", "numbers"), Part("curve", "plot")),
    answer,
    of_checkpoint=True,
)
