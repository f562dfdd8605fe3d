"""Kolmogorov: how probability flows between symbols in continuous time, and single paths that follow it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from ddemo.errors import InputError
from ddemo.figures.look import PAGE
from ddemo.figures.noise import kolmogorov as figures
from ddemo.figures.noise.plain import symbols
from ddemo.figures.tables import csv_text
from ddemo.processes import Schedule, gillespie, rates, transitions
from ddemo.processes.curves import CURVES
from ddemo.sampling.randomness import generator_for
from ddemo.ui.lab import matrices
from ddemo.ui.lab.reading import read_rates
from ddemo.ui.lab.scores import SMOOTH
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
In continuous time noise is a matrix of rates $R$: in a moment $dt$ symbol $i$ turns into $j$ with probability
$\beta(t)\,R_{ij}\,dt$, where $\beta(t) = \sigma'(t)$ is how fast the schedule runs. The law of the symbol then obeys
the Kolmogorov forward equation; between two symbols flows $p_t(i)\,\beta(t)\,R_{ij}$, and what a symbol gains is what
arrives less what leaves:

$$\frac{dp_t}{dt} = \beta(t)\; p_t\,R, \qquad p_t = p_0\, e^{\sigma(t) R}, \qquad R\mathbf{1} = 0$$

A single path knows nothing of this law. It waits for a time drawn from an exponential distribution, jumps, and waits
again, and yet the share of many paths follows the curve (Gillespie's simulation, which is exact).
Sources: [Campbell et al. 2022](https://arxiv.org/abs/2205.14987), section 3; [SEDD](https://arxiv.org/abs/2310.16834),
equation 1, in columns; Gillespie 1977 for the paths.
"""
MOST = 8  # symbols
MOST_RATE = 5.0  # of a visitor's own, so that paths stay short
PROCESSES = {name: title for name, title in matrices.PROCESSES.items() if name != "own"} | {"own": "your own rates"}
OWN = "-1 1 0\n0 -1 1\n1 0 -1"
TIMES = [k / 100 for k in range(100)]  # up to 0.99: at 1 the rate of some schedules is infinite
SUBSTEPS = 4  # of Runge-Kutta, between two times


@dataclass(frozen=True)
class Moving:
    """A symbol that noise moves in continuous time.

    Attributes:
        process: one of `PROCESSES`.
        schedule: by its name.
        size: K.
        start: the symbol at t = 0.
        own: a visitor's own rates, row by row; empty for other processes.
    """

    process: str
    schedule: str
    size: int
    start: int
    own: tuple[tuple[float, ...], ...] = ()

    @property
    def names(self) -> list[str]:
        return symbols(self.size, self.process in ("absorbing", "hybrid"))

    @property
    def curve(self) -> Schedule:
        return CURVES[self.schedule]

    @property
    def rates(self) -> Tensor:
        """[K, K], at noise of rate 1."""
        if self.process == "own":
            return torch.tensor(self.own, dtype=torch.float64)
        return matrices.rates_by_name(self.process, self.size)

    @property
    def initial(self) -> Tensor:
        """[K] p_0."""
        return torch.eye(self.size, dtype=torch.float64)[self.start]

    def closed(self, t: float) -> Tensor | None:
        """[K] p_t in closed form; None for a process that has none."""
        noised = self.curve.noised(t)
        if self.process == "absorbing":
            return self.initial @ transitions.absorbing(noised, self.size)
        if self.process == "uniform":
            return self.initial @ transitions.uniform(noised, self.size)
        if self.process == "hybrid":
            return self.initial @ transitions.hybrid(*transitions.half_each(noised), self.size)
        return None


@lru_cache(maxsize=64)
def exact_laws(moving: Moving) -> Tensor:
    """[T, K] p_t at `TIMES`, by the matrix exponential."""
    made = [rates.exponential(moving.rates, moving.curve.sigma(t)) for t in TIMES]
    return moving.initial @ torch.stack(made)


@lru_cache(maxsize=64)
def solved_laws(moving: Moving) -> Tensor:
    """[T, K] the same, by solving the forward equation; it begins with the noise that a schedule has at t = 0."""
    return rates.solve(exact_laws(moving)[0], moving.rates, moving.curve.beta, TIMES, SUBSTEPS)


@lru_cache(maxsize=64)
def paths_of(moving: Moving, count: int, seed: int) -> tuple[gillespie.Path, ...]:
    """So many paths in the time of the schedule; a larger count goes on where a smaller one ends."""
    until, turning = moving.curve.sigma(TIMES[-1]), moving.rates
    made = (
        gillespie.simulate(moving.start, turning, until, generator_for(seed, number, 0, "noise"))
        for number in range(count)
    )
    return tuple(gillespie.in_time(path, moving.curve) for path in made)


@lru_cache(maxsize=64)
def shares_of(moving: Moving, count: int, seed: int) -> Tensor:
    """[T, K] the share of so many paths in each symbol at `TIMES`."""
    return gillespie.shares(paths_of(moving, count, seed), TIMES, moving.size)


def solved_law(moving: Moving, t: float) -> Tensor:
    """[K] p_t where `solved_laws` goes on to t from the last of `TIMES` before it."""
    before = [time for time in TIMES if time < t]
    if not before:
        return solved_laws(moving)[0]
    start = solved_laws(moving)[len(before) - 1]
    return rates.solve(start, moving.rates, moving.curve.beta, [before[-1], t], SUBSTEPS)[-1]


def moving_of(values: Mapping[str, Any]) -> Moving:
    """What the controls describe; raises InputError for rates that are none, or too large."""
    own: tuple[tuple[float, ...], ...] = ()
    size = values["size"]
    if values["process"] == "own":
        found = read_rates(values["own"], MOST)
        if float(found.abs().max()) > MOST_RATE:
            raise InputError(f"A rate here may be at most {MOST_RATE:g}, not {float(found.abs().max()):g}.")
        size, own = len(found), tuple(map(tuple, found.tolist()))
    return Moving(values["process"], values["schedule"], size, min(values["start"], size) - 1, own)


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The law over time with paths on it, one symbol's curve, the flows at t, and the numbers."""
    moving, t, count = moving_of(values), values["t"], values["paths"]
    names, follow = moving.names, min(values["follow"], moving.size) - 1
    exact, solved = exact_laws(moving), solved_laws(moving)
    paths = paths_of(moving, count, values["seed"])
    share = shares_of(moving, count, values["seed"]) if paths else None
    error = gillespie.share_error(exact, count) if paths else None
    law = moving.initial @ rates.exponential(moving.rates, moving.curve.sigma(t))
    flows = rates.flows(law, moving.rates, moving.curve.beta(t))
    here = f"t = {t:g}, from {names[moving.start]}"
    told = ", ".join(f"{name} {p:.4f}" for name, p in zip(names, law.tolist(), strict=True))
    followed = (law_[:, follow] if law_ is not None else None for law_ in (exact, solved, share, error))
    return {
        "own": gr.update(visible=moving.process == "own"),
        "paths_plot": figure_message(
            figures.paths_figure(TIMES, exact, paths, t, names, PAGE),
            "kolmogorov-paths",
            f"The law of the symbol at {here}: {told}.",
            csv_text(["t", *names], [[time, *row] for time, row in zip(TIMES, exact.tolist(), strict=True)]),
        ),
        "share": figure_message(
            figures.share_figure(TIMES, *followed, t, names[follow], PAGE),
            "kolmogorov-share",
            f"{names[follow]} at {here}: {float(law[follow]):.4f}.",
            _shares_csv(exact, solved, share, follow),
        ),
        "flows": figure_message(
            figures.flow_figure(flows, names, t, PAGE),
            "kolmogorov-flows",
            f"Flows at {here}; the largest is {float(flows.max()):.4f} per unit of t.",
            csv_text(["from", *names], [[name, *row] for name, row in zip(names, flows.tolist(), strict=True)]),
        ),
        "numbers": _numbers(moving, t, law, flows, paths),
    }


def _shares_csv(exact: Tensor, solved: Tensor, share: Tensor | None, follow: int) -> str:
    columns = [TIMES, exact[:, follow].tolist(), solved[:, follow].tolist()]
    header = ["t", "exponential", "runge_kutta"]
    if share is not None:
        header, columns = [*header, "paths"], [*columns, share[:, follow].tolist()]
    return csv_text(header, zip(*columns, strict=True))


def _numbers(moving: Moving, t: float, law: Tensor, flows: Tensor, paths: tuple[gillespie.Path, ...]) -> str:
    solved, closed = solved_law(moving, t), moving.closed(t)
    kinds = {"p_t = p_0 exp(sigma R)": law, "Runge-Kutta": solved}
    if closed is not None:
        kinds["closed form"] = closed
    if paths:
        kinds[f"share of {len(paths)} paths"] = gillespie.shares(paths, [t], moving.size)[0]
    kinds |= {"arrives": flows.sum(0), "leaves": flows.sum(1)}
    kinds["dp/dt"] = rates.forward(law, moving.rates, moving.curve.beta(t))
    rows = [[name, *(f"{value:.4f}" for value in row.tolist())] for name, row in kinds.items()]
    said = [
        f"sigma(t) = {moving.curve.sigma(t):.4g} and beta(t) = {moving.curve.beta(t):.4g}. From the exponential, "
        f"Runge-Kutta is {float((solved - law).abs().max()):.2g} away"
        + (f", the closed form {float((closed - law).abs().max()):.2g}." if closed is not None else ".")
    ]
    if paths:
        jumps = sum(path.jumps(t) for path in paths) / len(paths)
        said.append(f"Until t a path has made {jumps:.3g} jumps on average.")
    return table(f"The law at t = {t:g}", ["", *moving.names], rows, said)


VIEW = View(
    "kolmogorov",
    "Kolmogorov",
    WORDS,
    (
        Choice("process", "Noise", PROCESSES, "uniform", folded=True),
        Choice("schedule", "Noise schedule", SMOOTH, "linear", folded=True),
        Range("t", "Time t", 0.0, TIMES[-1], 0.01, 0.5),
        Range("size", "Symbols K", 2, MOST, 1, 4),
        Range("start", "Symbol at t = 0", 1, MOST, 1, 1),
        Range("follow", "Symbol to follow", 1, MOST, 1, 1),
        Range("paths", "Paths", 0, 100, 1, 40),
        Range("seed", "Seed", 0, 99, 1, 0),
        Written("own", "Your own rates", OWN, "A row a line that sums to zero; used where they are chosen.", lines=3),
    ),
    (
        Part("paths_plot", "plot"),
        Part("share", "plot", wide=False),
        Part("flows", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
    updated=("own",),
)
