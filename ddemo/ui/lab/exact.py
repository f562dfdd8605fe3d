"""Exact world: the law that a sampler reaches, computed to the last digit, beside the true one."""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddemo.figures.look import PAGE
from ddemo.figures.noise.exact import distance_figure, reached_figure
from ddemo.figures.tables import csv_text
from ddemo.processes import Schedule, reached
from ddemo.processes.curves import CURVES
from ddemo.processes.exact import ExactWorld
from ddemo.ui.lab.forward import SCHEDULES
from ddemo.ui.lab.settings import Choice, Range
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
In a world small enough to know every conditional, the model is never wrong, and what a sampler reaches can be
computed instead of sampled: the mass of every canvas is carried from step to step. What is then left of the distance

$$\mathrm{TV}(p, q) = \tfrac12 \sum_x \lvert p(x) - q(x) \rvert$$

is the sampler's own. Tokens that are committed in the same step are drawn as if they had nothing to do with each
other, so that few steps, or several tokens a step, cost distance; one mask at a time, as first-hitting goes however
many steps are set, costs nothing. Argmax in place of a draw never comes near: it writes one text, or a few. Under
uniform noise a word may be put right again, but tokens are drawn apart there too.
Sources: [Zheng et al. 2024](https://arxiv.org/abs/2409.02908), first-hitting;
[MDLM](https://arxiv.org/abs/2406.07524), ancestral; [D3PM](https://arxiv.org/abs/2107.03006), uniform noise;
[MaskGIT](https://arxiv.org/abs/2202.04200) and [LLaDA](https://arxiv.org/abs/2502.09992), the most confident first.
"""
GRID = (1, 2, 4, 8, 16, 32, 64)
SHOWN = 12  # texts


class World(NamedTuple):
    """A few texts and their weights.

    Attributes:
        title: on the page.
        words: how each is written.
        texts: of words, all of the same number, with what they weigh.
        spread: the share of probability that is spread over all texts.
    """

    title: str
    words: tuple[str, ...]
    texts: Mapping[str, float]
    spread: float

    def made(self) -> ExactWorld:
        tokens = [[self.words.index(word) for word in text.split()] for text in self.texts]
        weights = torch.tensor(list(self.texts.values()), dtype=torch.float64)
        return ExactWorld.from_texts(torch.tensor(tokens), weights, self.spread, self.words)


WORLDS = {
    "coins": World("two coins that agree", ("heads", "tails"), {"heads heads": 0.5, "tails tails": 0.5}, 0.02),
    "people": World(
        "he and she, his and her",
        ("he", "she", "lost", "found", "his", "her"),
        {"he lost his": 0.35, "she lost her": 0.3, "he found his": 0.1, "she found her": 0.2, "he found her": 0.05},
        0.02,
    ),
    "parity": World(
        "three bits, the last their parity",
        ("0", "1"),
        {"0 0 0": 0.25, "0 1 1": 0.25, "1 0 1": 0.25, "1 1 0": 0.25},
        0.02,
    ),
}


class Sampler(NamedTuple):
    """A sampler.

    Attributes:
        title: on the page.
        run: (world, schedule, steps) -> the law [K] * L that it reaches.
    """

    title: str
    run: Callable[[ExactWorld, Schedule, int], Tensor]


def _top_k(draw: str) -> Callable[[ExactWorld, Schedule, int], Tensor]:
    """As many at once as N steps ask for."""
    return lambda world, _, steps: reached.top_k(world, -(-world.length // steps), draw)


def _ancestral(draw: str) -> Callable[[ExactWorld, Schedule, int], Tensor]:
    return lambda world, schedule, steps: reached.ancestral(world, schedule, steps, draw)


def _first_hitting(draw: str) -> Callable[[ExactWorld, Schedule, int], Tensor]:
    """One mask a step, however many steps are asked for."""
    return lambda world, *_: reached.first_hitting(world, draw)


SAMPLERS = {
    "ancestral": Sampler("ancestral", _ancestral("categorical")),
    "first-hitting": Sampler("first-hitting", _first_hitting("categorical")),
    "top-k": Sampler("parallel top-k", _top_k("categorical")),
    "uniform": Sampler("ancestral, uniform", reached.uniform_ancestral),
    "ancestral-argmax": Sampler("ancestral, argmax", _ancestral("argmax")),
    "first-hitting-argmax": Sampler("first-hitting, argmax", _first_hitting("argmax")),
    "top-k-argmax": Sampler("parallel top-k, argmax", _top_k("argmax")),
}


@cache
def world_of(name: str) -> ExactWorld:
    return WORLDS[name].made()


@lru_cache(maxsize=4096)
def law_of(world: str, sampler: str, schedule: str, steps: int) -> Tensor:
    """[K] * L, reached by a sampler."""
    return SAMPLERS[sampler].run(world_of(world), CURVES[schedule], steps)


def distance(world: str, sampler: str, schedule: str, steps: int) -> float:
    """Total variation from the truth."""
    return reached.distance(world_of(world), law_of(world, sampler, schedule, steps))


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The texts that are reached beside the true ones, and all samplers over the number of steps."""
    name, sampler, schedule, steps = (values[key] for key in ("world", "sampler", "schedule", "steps"))
    world, law = world_of(name), law_of(name, sampler, schedule, steps)
    here = distance(name, sampler, schedule, steps)
    cells = torch.maximum(law, world.joint).flatten().argsort(descending=True, stable=True)[:SHOWN]
    texts = [_spelled(world, cell) for cell in cells.tolist()]
    true, found = world.joint.flatten()[cells].tolist(), law.flatten()[cells].tolist()
    title = f"{SAMPLERS[sampler].title}, {steps} {'step' if steps == 1 else 'steps'}: distance {here:.4f}"
    distances = {
        item.title: [distance(name, key, schedule, count) for count in GRID] for key, item in SAMPLERS.items()
    }
    return {
        "laws": figure_message(
            reached_figure(texts, true, found, title, PAGE),
            f"reached-{sampler}-{steps}",
            f"{title}. Reached and true: "
            + "; ".join(f"{text} {q:.4f}, {p:.4f}" for text, q, p in zip(texts, found, true, strict=True)),
            csv_text(["text", "true", "reached"], zip(texts, true, found, strict=True)),
        ),
        "distances": figure_message(
            distance_figure(GRID, distances, SAMPLERS[sampler].title, steps, here, PAGE),
            "total-variation",
            f"{title}.",
            csv_text(["sampler", *map(str, GRID)], [[key, *row] for key, row in distances.items()]),
        ),
        "numbers": table(
            "Total variation from the truth, by steps",
            ["steps", *map(str, GRID)],
            [[key, *(f"{value:.4f}" for value in row)] for key, row in distances.items()],
        ),
    }


def _spelled(world: ExactWorld, cell: int) -> str:
    """The text of a cell of the joint."""
    words = []
    for _ in range(world.length):
        cell, word = divmod(cell, world.size)
        words.append(world.words[word])
    return " ".join(reversed(words))


VIEW = View(
    "exact",
    "Exact world",
    WORDS,
    (
        Choice("world", "World", {name: world.title for name, world in WORLDS.items()}, "people"),
        Choice("sampler", "Sampler", {name: item.title for name, item in SAMPLERS.items()}, "top-k", folded=True),
        Range("steps", "Steps", 1, 64, 1, 1),
        Choice("schedule", "Noise schedule", SCHEDULES, "linear", folded=True),
    ),
    (Part("laws", "plot", wide=False), Part("distances", "plot", wide=False), Part("numbers", "numbers")),
    answer,
)
