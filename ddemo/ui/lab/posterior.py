"""Posterior calculator: Bayes' rule for one token with every number in it, and what a belief makes of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddemo.errors import InputError
from ddemo.figures.look import PAGE
from ddemo.figures.noise.plain import symbols
from ddemo.figures.noise.posterior import FACTORS, bayes_figure, belief_figure
from ddemo.figures.tables import csv_text
from ddemo.processes import Schedule, posteriors, transitions
from ddemo.processes.curves import CURVES
from ddemo.ui.lab.forward import SCHEDULES
from ddemo.ui.lab.reading import read_law
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message, sentence_message
from ddemo.ui.resident import Resident

WORDS = r"""
To go back from $t$ to an earlier $s$, a sampler needs the law of $x_s$. If $x_0$ were known, Bayes' rule would give
it from two factors that the noise process fixes:

$$q(x_s \mid x_t, x_0) = \frac{q(x_t \mid x_s)\; q(x_s \mid x_0)}{q(x_t \mid x_0)}$$

A model only has a belief $p(x_0 \mid x_t)$. Three ways to use it differ: the **mean** of the posteriors,
$\sum_{x_0} p(x_0 \mid x_t)\, q(x_s \mid x_t, x_0)$; the **joint-weighted** form, which puts
$\sum_{x_0} p(x_0)\, q(x_s \mid x_0)$ in place of the second factor and is exact for a belief that has not seen the
position's own token; and the **plug-in** of its likeliest $x_0$.
Source: [D3PM](https://arxiv.org/abs/2107.03006), equations 3 and 4; [MDLM](https://arxiv.org/abs/2406.07524),
equations 6 and 7, for masks; [UDLM](https://arxiv.org/abs/2412.10193) for uniform noise.
"""
SIZE = 5
PROCESSES = {"absorbing": "absorbing (mask)", "uniform": "uniform", "hybrid": "mask and uniform, half each"}
SYMBOLS = {name: name for name in "abcd"} | {"last": "e / mask"}
WAYS = ("mean", "joint-weighted", "plug-in")


def names_of(process: str) -> list[str]:
    return symbols(SIZE, process != "uniform")


def index_of(symbol: str) -> int:
    """Of a value of `SYMBOLS`."""
    return list(SYMBOLS).index(symbol)


def transition(process: str, noised: float) -> Tensor:
    """[K, K] of a stretch of time in which a token is hit with probability `noised`."""
    if process == "absorbing":
        return transitions.absorbing(noised, SIZE)
    if process == "uniform":
        return transitions.uniform(noised, SIZE)
    return transitions.hybrid(*transitions.half_each(noised), SIZE)


def stretches(process: str, schedule: Schedule, t: float, s: float) -> tuple[Tensor, Tensor]:
    """q(x_s | x_0) and q(x_t | x_s), both [K, K]; raises InputError unless s < t."""
    if not s < t:
        raise InputError(f"The earlier time s must be less than t: {s:g} is not less than {t:g}.")
    return transition(process, schedule.noised(s)), transition(process, schedule.lost(t, s))


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The factors, the equation with its numbers, and the three ways to use the belief."""
    process, t, s = values["process"], values["t"], values["s"]
    names = names_of(process)
    x_t, x_0, x_s = (index_of(values[name]) for name in ("x_t", "x_0", "x_s"))
    to_s, between = stretches(process, CURVES[values["schedule"]], t, s)
    belief = read_law(values["belief"], SIZE, "belief")
    if (to_s @ between)[x_0, x_t] <= 0.0:
        raise InputError(f"Under this noise {names[x_0]} never turns into {names[x_t]}: choose another x_t or x_0.")
    found = posteriors.bayes(x_t, x_0, to_s, between)
    rows = [
        [name, *(f"{p:.5f}" for p in getattr(found, field).tolist()), f"{float(getattr(found, field).sum()):.5f}"]
        for field, name in FACTORS.items()
    ]
    title = f"x_t = {names[x_t]}, x_0 = {names[x_0]}, from t = {t:g} to s = {s:g}"
    return {
        "filled": filled(found, names, x_s, x_t, x_0),
        "factors": figure_message(
            bayes_figure(found, names, title, PAGE),
            "posterior",
            f"{title}: " + ", ".join(f"{name} {p:.4f}" for name, p in zip(names, found.law.tolist(), strict=True)),
            csv_text(["", *names], [[name, *getattr(found, field).tolist()] for field, name in FACTORS.items()]),
        ),
        "numbers": table("Bayes' rule, by x_s", ["x_s", *names, "sum"], rows),
        "beliefs": _beliefs(belief, x_t, to_s, between, names, t, s),
    }


def filled(found: posteriors.Bayes, names: list[str], x_s: int, x_t: int, x_0: int) -> str:
    """The equation for one x_s with its numbers."""
    there, here, clean = (rf"\text{{{names[at]}}}" for at in (x_s, x_t, x_0))
    likelihood, prior = float(found.likelihood[x_s]), float(found.prior[x_s])
    return (
        rf"$$q(x_s = {there} \mid x_t = {here}, x_0 = {clean}) = "
        rf"\frac{{{likelihood:.5f} \times {prior:.5f}}}{{{found.normaliser:.5f}}} = {float(found.law[x_s]):.5f}$$"
    )


def ways(belief: Tensor, x_t: int, to_s: Tensor, between: Tensor) -> dict[str, Tensor]:
    """p(x_s | x_t) [K] by each of `WAYS`; raises InputError where the belief cannot be one after x_t was seen."""
    p, at = belief[None], torch.tensor([x_t])
    try:
        functions = (posteriors.mean_posterior, posteriors.joint_weighted, posteriors.plug_in)
        return {name: way(p, at, to_s, between)[0] for name, way in zip(WAYS, functions, strict=True)}
    except ValueError:
        raise InputError(
            "After this x_t has been seen, the belief must be 0 at every x_0 that cannot turn into it."
        ) from None


def _beliefs(belief: Tensor, x_t: int, to_s: Tensor, between: Tensor, names: list[str], t: float, s: float) -> str:
    try:
        laws = ways(belief, x_t, to_s, between)
    except InputError as problem:
        return sentence_message(str(problem))
    title = f"With the belief: p(x_s | x_t = {names[x_t]})"
    told = "; ".join(f"{way}: {', '.join(f'{p:.4f}' for p in law.tolist())}" for way, law in laws.items())
    return figure_message(
        belief_figure(laws, names, title, PAGE),
        "posterior-of-belief",
        f"{title} from t = {t:g} to s = {s:g}. {told}.",
        csv_text(["", *names], [[way, *law.tolist()] for way, law in laws.items()]),
    )


VIEW = View(
    "posterior",
    "Posterior calculator",
    WORDS,
    (
        Choice("process", "Noise", PROCESSES, "uniform"),
        Choice("schedule", "Noise schedule", SCHEDULES, "linear", folded=True),
        Range("t", "Time t", 0.01, 1.0, 0.01, 0.6),
        Range("s", "Time s < t", 0.0, 0.99, 0.01, 0.4),
        Choice("x_t", "x_t, what stands there", SYMBOLS, "last"),
        Choice("x_0", "x_0, what was there", SYMBOLS, "a"),
        Choice("x_s", "x_s in the equation", SYMBOLS, "a"),
        Written("belief", "Belief about x_0", "0.4 0.25 0.15 0.1 0.1", "A probability for each symbol.", lines=1),
    ),
    (
        Part("filled", "formula"),
        Part("factors", "plot", wide=False),
        Part("beliefs", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
)
