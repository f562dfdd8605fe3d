"""Scores: ratios of probabilities in place of a belief, and one reverse step from them, however long."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ddemo.errors import InputError
from ddemo.figures.look import PAGE
from ddemo.figures.noise.scores import error_figure, score_figure, step_figure
from ddemo.figures.tables import csv_text
from ddemo.processes import rates, scores
from ddemo.processes.chains import total_variation
from ddemo.processes.curves import CURVES
from ddemo.ui.lab.forward import SCHEDULES
from ddemo.ui.lab.posterior import PROCESSES, SIZE, SYMBOLS, index_of, names_of, transition
from ddemo.ui.lab.reading import read_law
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
A network can learn ratios in place of a belief: the *concrete score* of every symbol against the one that stands.
With the forward rates $R$ and the rate of noise $\beta(t) = \sigma'(t)$ it gives the rates of the reverse process,
and one Euler step of length $dt$:

$$s(y) = \frac{p_t(y)}{p_t(x_t)}, \qquad p(x_{t - dt} = y \mid x_t) \approx
\delta(x_t, y) + dt\,\beta(t)\,R(y, x_t)\,s(y)$$

The step is a law only up to $dt = 1 / (\text{rate of leaving } x_t)$; beyond it the entry of $x_t$ is negative, and
an implementation that cuts it off draws from something else. The **analytic** (Tweedie) step undoes the noise from
$t - dt$ to $t$ instead and stays exact for exact scores: it is the step through the posterior.
Source: [SEDD](https://arxiv.org/abs/2310.16834), equations 3, 17 and 19, theorem 4.2, in columns there.
"""
SMOOTH = {name: title for name, title in SCHEDULES.items() if CURVES[name].derivative}
EULER, ANALYTIC, EXACT = "Euler", "analytic", "posterior"
STRIDES = 40  # lengths at which the error is drawn


@dataclass(frozen=True)
class State:
    """One token at time t of a process whose law of x_0 is known.

    Attributes:
        process, schedule: of the noise.
        initial: [K] the law of x_0.
        t: in (0, 1).
        x_t: what stands.
    """

    process: str
    schedule: str
    initial: Tensor
    t: float
    x_t: int

    def marginal(self, t: float) -> Tensor:
        """p_t [K]."""
        return self.initial @ transition(self.process, CURVES[self.schedule].noised(t))

    @cached_property
    def ratios(self) -> Tensor:
        """[K] the concrete scores; raises InputError where x_t never occurs."""
        marginal = self.marginal(self.t)
        if marginal[self.x_t] <= 0.0:
            raise InputError(f"{names_of(self.process)[self.x_t]} never occurs at t: choose another x_t.")
        return scores.concrete_scores(marginal, self.x_t)

    @cached_property
    def reverse(self) -> Tensor:
        """[K] the reverse rates out of x_t."""
        return scores.reverse_rates(self.ratios, self.x_t, self.rates, CURVES[self.schedule].beta(self.t))

    @cached_property
    def rates(self) -> Tensor:
        """[K, K] forwards, at noise of rate 1."""
        if self.process == "absorbing":
            return rates.absorbing_rates(SIZE)
        return rates.uniform_rates(SIZE) if self.process == "uniform" else rates.hybrid_rates(0.5, 0.5, SIZE)

    def steps(self, dt: float) -> dict[str, scores.Step]:
        """The step from t to t - dt by each way."""
        s = self.before(dt)
        return {
            EULER: self.euler(s),
            ANALYTIC: scores.tweedie_step(self.ratios, self.x_t, self.between(s)),
            EXACT: self.exact(s),
        }

    def before(self, dt: float) -> float:
        """s, so long before t."""
        return max(0.0, self.t - dt)

    def between(self, s: float) -> Tensor:
        """[K, K] q(x_t | x_s)."""
        return transition(self.process, CURVES[self.schedule].lost(self.t, s))

    def euler(self, s: float) -> scores.Step:
        return scores.euler_step(self.reverse, self.x_t, self.t - s)

    def exact(self, s: float) -> scores.Step:
        """Through the posterior."""
        likelihood = self.marginal(s) * self.between(s)[:, self.x_t]
        return scores.Step(likelihood / likelihood.sum())

    def error(self, dt: float) -> float:
        """Total variation of the Euler step, cut off where it is negative, from the exact one."""
        s = self.before(dt)
        return float(total_variation(self.euler(s).clipped(), self.exact(s).entries))


def state_of(values: Mapping[str, Any]) -> State:
    """Raises InputError for a law that is none."""
    names = ("process", "schedule")
    initial = read_law(values["law"], SIZE, "law of x_0")
    return State(*(values[name] for name in names), initial, values["t"], index_of(values["x_t"]))


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The scores, the step by three ways, and what longer steps cost."""
    state, dt = state_of(values), values["dt"]
    if dt > state.t:
        raise InputError(f"A step of {dt:g} from t = {state.t:g} would end before time 0: choose a smaller dt.")
    names, made = names_of(state.process), state.steps(dt)
    longest = scores.longest_step(state.reverse, state.x_t)
    strides = [state.t * k / STRIDES for k in range(STRIDES + 1)]
    errors = [state.error(stride) for stride in strides]
    here = f"x_t = {names[state.x_t]}, t = {state.t:g}"
    entries = {way: step.entries for way, step in made.items()}
    return {
        "scores": figure_message(
            score_figure(state.ratios, state.marginal(state.t), names, f"Scores at {here}", PAGE),
            "scores",
            f"Scores at {here}: " + _told(names, state.ratios),
            csv_text(["", *names], [["p_t", *state.marginal(state.t).tolist()], ["score", *state.ratios.tolist()]]),
        ),
        "step": figure_message(
            step_figure(entries, names, f"One step, {here}, dt = {dt:g}", PAGE),
            "reverse-step",
            "; ".join(f"{way}: {_told(names, law)}" for way, law in entries.items()),
            csv_text(["", *names], [[way, *law.tolist()] for way, law in entries.items()]),
        ),
        "error": figure_message(
            error_figure([round(stride, 6) for stride in strides], errors, dt, longest, PAGE),
            "euler-error",
            f"The Euler step of {dt:g} is {state.error(dt):.4f} from the exact one; the longest is {longest:.4f}.",
            csv_text(["dt", "error"], zip(strides, errors, strict=True)),
        ),
        "numbers": _numbers(state, made, names, longest),
    }


def _told(names: list[str], law: Tensor) -> str:
    return ", ".join(f"{name} {p:.4f}" for name, p in zip(names, law.tolist(), strict=True))


def _numbers(state: State, made: Mapping[str, scores.Step], names: list[str], longest: float) -> str:
    kinds = {"score": state.ratios, "reverse rate": state.reverse} | {way: step.entries for way, step in made.items()}
    rows = [[kind, *(f"{value:.5f}" for value in law.tolist())] for kind, law in kinds.items()]
    euler = made[EULER]
    said = [
        f"beta(t) = {CURVES[state.schedule].beta(state.t):.4g}. The longest Euler step from here is "
        + (f"{longest:.5f}." if longest < float("inf") else "as long as one likes: nothing leaves.")
    ]
    if not euler.is_law:
        said.append(f"This Euler step is no law: {euler.excess:.5f} lies below zero.")
    return table("Scores and one step", ["y", *names], rows, said)


VIEW = View(
    "scores",
    "Scores",
    WORDS,
    (
        Choice("process", "Noise", PROCESSES, "uniform"),
        Choice("schedule", "Noise schedule", SMOOTH, "linear", folded=True),
        Choice("x_t", "x_t, what stands there", SYMBOLS, "last"),
        Range("t", "Time t", 0.02, 0.99, 0.01, 0.6),
        Range("dt", "Step dt", 0.0, 0.99, 0.01, 0.1),
        Written("law", "Law of x_0", "0.5 0.3 0.15 0.05 0", "A probability for each symbol.", lines=1),
    ),
    (
        Part("scores", "plot", wide=False),
        Part("step", "plot", wide=False),
        Part("error", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
)
