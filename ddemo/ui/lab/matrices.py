"""Matrices: one step of noise and many, for an alphabet small enough to see whole, and the limit of small steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import gradio as gr
import torch
from torch import Tensor

from ddemo.figures.look import PAGE
from ddemo.figures.noise import matrices as figures
from ddemo.figures.noise.plain import symbols
from ddemo.figures.tables import csv_text
from ddemo.processes import betas, chains, rates, transitions
from ddemo.ui.lab.reading import read_matrix
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
For a small alphabet a step of noise is a matrix: row $i$ says where symbol $i$ goes. Many steps are their product,
and where all of this ends is the *stationary* law, which another step leaves as it is:

$$[Q_t]_{ij} = q(x_t = j \mid x_{t-1} = i), \qquad \overline{Q}_t = Q_1 Q_2 \cdots Q_t, \qquad \pi = \pi\,Q$$

In continuous time the steps become rates $R$, and noise $\sigma$ makes of them $e^{\sigma R}$, to which $N$ equal
steps $(I + \sigma R / N)^N$ tend as $N$ grows.
Sources: [D3PM](https://arxiv.org/abs/2107.03006), section 3.1 and appendix A.2, whose rows these are
([SEDD](https://arxiv.org/abs/2310.16834) writes columns);
[Campbell et al. 2022](https://arxiv.org/abs/2205.14987) for rates.
"""
MOST = 32  # symbols
PROCESSES = {
    "absorbing": "absorbing (mask)",
    "uniform": "uniform",
    "hybrid": "hybrid: mask and uniform, half each",
    "gaussian": "discretised Gaussian, for ordered symbols",
    "neighbours": "nearest neighbours, symbols on a ring",
    "own": "your own matrix",
}
BETAS = {
    "absorbing": ("1 / (T - t + 1), for masks", betas.d3pm_absorbing),
    "linear": ("linear, 0.0001 to 0.02", betas.d3pm_linear),
    "cosine": ("cosine", betas.d3pm_cosine),
}
OF_A_STEP = {name: title for name, (title, _) in BETAS.items()}
OWN = "0.8 0.2 0.0\n0.1 0.8 0.1\n0.0 0.2 0.8"
RING_NEIGHBOURS = 2
WIDTH = 0.2  # of the discretised Gaussian whose rates are taken
GRID = tuple(2**n for n in range(11))  # numbers of discrete steps


class Kind(NamedTuple):
    """A noise without its steps: sliders go through times and steps, and what depends on neither is kept by this.

    Attributes:
        process: one of `PROCESSES`.
        size: K.
        own: a visitor's own matrix, row by row; empty for other processes.
    """

    process: str
    size: int
    own: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Chain:
    """Noise in T steps over K symbols.

    Attributes:
        process: one of `PROCESSES`.
        betas: [T], the noise of each step.
        size: K.
        own: [K, K], a visitor's own matrix, which is every step.
    """

    process: str
    betas: Tensor
    size: int
    own: Tensor | None = None

    @property
    def names(self) -> list[str]:
        return symbols(self.size, self.process in ("absorbing", "hybrid"))

    @property
    def kind(self) -> Kind:
        rows = () if self.own is None else tuple(map(tuple, self.own.tolist()))
        return Kind(self.process, self.size, rows)

    @property
    def rates(self) -> Tensor:
        """[K, K], of the same process in continuous time."""
        return rates_of_kind(self.kind)

    def one(self, k: int) -> Tensor:
        """Q_k for step k of 1 .. T."""
        beta = float(self.betas[k - 1])
        if self.process == "absorbing":
            return transitions.absorbing(beta, self.size)
        if self.process == "uniform":
            return transitions.uniform(beta, self.size)
        if self.process == "hybrid":
            return transitions.hybrid(beta / 2, beta / 2, self.size)
        if self.process == "gaussian":
            return transitions.gaussian(beta, self.size)
        if self.process == "neighbours":
            return rates.exponential(self.rates, beta)
        return self.own

    def many(self, k: int) -> Tensor:
        """Q_bar_k: in closed form where there is one, else multiplied out."""
        noised = float(betas.noised_of(self.betas)[k])
        if self.process == "absorbing":
            return transitions.absorbing(noised, self.size)
        if self.process == "uniform":
            return transitions.uniform(noised, self.size)
        if self.process == "hybrid":
            to_mask, redrawn = transitions.hybrid_noise(self.betas[:k] / 2, self.betas[:k] / 2)
            return transitions.hybrid(to_mask[-1], redrawn[-1], self.size)
        if self.process == "gaussian":
            return _gaussian_products(self.betas.numpy().tobytes(), self.size)[k]
        if self.process == "neighbours":
            return rates.exponential(self.rates, float(self.betas[:k].sum()))
        return torch.linalg.matrix_power(self.own, k)


@lru_cache(maxsize=64)
def rates_of_kind(kind: Kind) -> Tensor:
    """[K, K], at noise of rate 1."""
    if kind.process == "own":
        return rates.rates_of(torch.tensor(kind.own, dtype=torch.float64))
    return rates_by_name(kind.process, kind.size)


@lru_cache(maxsize=64)
def laws_of_kind(kind: Kind) -> Tensor:
    """[C, K] where it ends: as its rates say, in which no small probability is rounded to 0 as in its steps."""
    return chains.stationary_laws(rates_of_kind(kind))


@lru_cache(maxsize=64)
def exponential_of_kind(kind: Kind, sigma: float) -> Tensor:
    """exp(sigma R) [K, K]."""
    return rates.exponential(rates_of_kind(kind), sigma)


@lru_cache(maxsize=512)
def steps_of_kind(kind: Kind, sigma: float, steps: int) -> Tensor:
    """[K, K] of so many steps; a product of matrices wakes all threads of torch, which then wait for the next one."""
    return rates.discrete_steps(rates_of_kind(kind), sigma, steps)


@lru_cache(maxsize=64)
def gaps_of_kind(kind: Kind, sigma: float, counts: tuple[int, ...]) -> tuple[float, ...]:
    """What `gaps_of` finds."""
    exact = exponential_of_kind(kind, sigma)
    made = [steps_of_kind(kind, sigma, steps) for steps in counts]
    return tuple(float(chains.total_variation(steps, exact).max()) for steps in made)


def rates_by_name(process: str, size: int) -> Tensor:
    """[K, K], of one of `PROCESSES` but the visitor's own, at noise of rate 1."""
    if process == "absorbing":
        return rates.absorbing_rates(size)
    if process == "uniform":
        return rates.uniform_rates(size)
    if process == "hybrid":
        return rates.hybrid_rates(0.5, 0.5, size)
    if process == "gaussian":
        return rates.rates_of(transitions.gaussian(WIDTH, size))
    return rates.neighbour_rates(ring(size), min(RING_NEIGHBOURS, size - 1))


@lru_cache(maxsize=8)
def _gaussian_products(told: bytes, size: int) -> Tensor:
    """[T + 1, K, K]; kept, for a slider goes through them and a product takes all steps before it."""
    steps = torch.frombuffer(bytearray(told), dtype=torch.float64)
    return chains.products(transitions.gaussian(steps, size))


def ring(size: int) -> Tensor:
    """[K, 2] symbols evenly on a circle: what stands for embeddings here."""
    angles = torch.arange(size, dtype=torch.float64) * (2 * math.pi / size)
    return torch.stack([angles.cos(), angles.sin()], -1)


@lru_cache(maxsize=64)
def betas_by_name(name: str, steps: int) -> Tensor:
    """[T] by one of `BETAS`."""
    return BETAS[name][1](steps)


def chain_of(values: Mapping[str, Any]) -> Chain:
    """The noise that the controls describe; raises InputError for a matrix that is none."""
    steps = betas_by_name(values["betas"], values["steps"])
    if values["process"] == "own":
        own = read_matrix(values["own"], MOST)
        return Chain("own", steps, len(own), own)
    return Chain(values["process"], steps, values["size"])


def step_at(t: float, steps: int) -> int:
    """The step, 1 .. T, that time t in [0, 1] falls on."""
    return max(1, round(t * steps))


def gaps_of(chain: Chain, sigma: float, counts: Sequence[int]) -> tuple[float, ...]:
    """For each number of steps the largest total variation between a row of them and that row of exp(sigma R)."""
    return gaps_of_kind(chain.kind, sigma, tuple(counts))


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """Both matrices, a row of them, the limit of small steps, and what there is to say."""
    chain = chain_of(values)
    row = min(values["row"], chain.size) - 1
    k = step_at(values["t"], values["steps"])
    one, many, names = chain.one(k), chain.many(k), chain.names
    laws = laws_of_kind(chain.kind)
    stationary = laws[0] if len(laws) == 1 else None
    title = f"Step {k} of {values['steps']}, {chain.size} symbols"
    gaps = gaps_of(chain, values["sigma"], GRID)
    [gap] = gaps_of(chain, values["sigma"], [values["n"]])
    return {
        "own": gr.update(visible=chain.process == "own"),
        "matrices": figure_message(
            figures.matrix_figure(one, many, names, row, title, PAGE),
            f"matrices-step-{k}",
            f"{title}: transition matrices of one step and of all steps, {PROCESSES[chain.process]}.",
            figures.matrix_csv(one, many, names),
        ),
        "bars": figure_message(
            figures.row_figure(one, many, stationary, names, row, PAGE),
            f"row-{names[row]}-step-{k}",
            f"From {names[row]} after {k} steps: "
            + ", ".join(f"{name} {p:.4f}" for name, p in zip(names, many[row].tolist(), strict=True)),
        ),
        "gap": figure_message(
            figures.gap_figure(GRID, [max(value, 1e-17) for value in gaps], values["n"], max(gap, 1e-17), PAGE),
            "discrete-steps",
            f"{values['n']} discrete steps are {gap:.3g} from the exponential.",
            csv_text(["steps", "gap"], zip(GRID, gaps, strict=True)),
        ),
        "numbers": _numbers(chain, values, row, one, many, laws),
    }


def _numbers(chain: Chain, values: Mapping[str, Any], row: int, one: Tensor, many: Tensor, laws: Tensor) -> str:
    steps = steps_of_kind(chain.kind, values["sigma"], values["n"])
    exact = exponential_of_kind(chain.kind, values["sigma"])
    kinds = {
        "Q_t": one[row],
        "Q_bar_t": many[row],
        "exp(sigma R)": exact[row],
        f"(I + sigma R / {values['n']})^{values['n']}": steps[row],
    }
    if len(laws) == 1:
        kinds["stationary"] = laws[0]
    rows = [[name, *(f"{p:.4f}" for p in law.tolist())] for name, law in kinds.items()]
    said = []
    if len(laws) > 1:
        said.append(f"There is no one stationary law: {len(laws)} sets of symbols are never left once entered.")
    if (least := float(steps.min())) < 0.0:
        said.append(f"With {values['n']} steps an entry is {least:.3g}, which is no probability: they are too large.")
    return table(f"From {chain.names[row]}", [f"from {chain.names[row]} to", *chain.names], rows, said)


VIEW = View(
    "matrices",
    "Matrices",
    WORDS,
    (
        Choice("process", "Noise", PROCESSES, "absorbing", folded=True),
        Choice("betas", "Noise of a step", OF_A_STEP, "absorbing", folded=True),
        Range("size", "Symbols K", 2, MOST, 1, 8),
        Range("steps", "Steps T", 1, 1000, 1, 100),
        Range("t", "Time t / T", 0.0, 1.0, 0.01, 0.3),
        Range("row", "Row", 1, MOST, 1, 1),
        Range("sigma", "Noise σ, continuous", 0.0, 5.0, 0.1, 1.0),
        Range("n", "Steps N, discrete", 1, 1024, 1, 4),
        Written("own", "Your own matrix", OWN, "A row a line; used where the noise is your own matrix.", lines=3),
    ),
    (
        Part("matrices", "plot"),
        Part("bars", "plot", wide=False),
        Part("gap", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
    updated=("own",),
)
