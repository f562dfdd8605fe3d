"""Argmax as a limit: a softmax at a falling temperature, its vanishing gradient, and what is sampled meanwhile."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ddemo.figures.look import PAGE
from ddemo.figures.noise.limit import laws_figure, over_temperature_figure
from ddemo.figures.noise.plain import symbols
from ddemo.figures.tables import csv_text
from ddemo.processes.chains import total_variation
from ddemo.processes.information import entropy
from ddemo.processes.relaxation import concrete, jacobian_norm, shifted, tempered
from ddemo.sampling.randomness import uniforms
from ddemo.ui.lab.reading import read_law, read_logits
from ddemo.ui.lab.settings import Range, Written
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
Argmax has no gradient: move the logits $\ell$ a little, and nothing changes. What is trained through an argmax takes
the gradient of a softmax at temperature $T$ in its place, which is the argmax in the limit:

$$p = \mathrm{softmax}(\ell / T) \;\to\; \mathrm{onehot}(\arg\max \ell), \qquad
\frac{\partial p}{\partial \ell} = \frac{\mathrm{diag}(p) - p\,p^{\top}}{T} \;\to\; 0 \qquad (T \to 0)$$

The gradient vanishes at both ends: at high $T$ because $p$ hardly moves, at low $T$ because $p$ is nearly one-hot.
Only where the largest logits are equal does it grow instead. And what is sampled changes on the way. A draw at
temperature $T$ has the law $p$, which narrows to one symbol. A **discrete flow** samples
$(x + \arg\max \ell) \bmod K$, which moves its base law as a whole, where the softmax that it is trained through mixes
all shifts. With Gumbel noise $g$ added first, the largest entry of $\mathrm{softmax}((\ell + g)/T)$ is drawn from
$\mathrm{softmax}(\ell)$ at every $T$, but the rest is zero only at $T = 0$.
Sources: [Tran et al. 2019](https://arxiv.org/abs/1905.10347), discrete flows;
[Maddison et al. 2017](https://arxiv.org/abs/1611.00712) and [Jang et al. 2017](https://arxiv.org/abs/1611.01144),
the concrete or Gumbel-softmax relaxation.
"""
MOST = 8  # symbols
GRID = tuple(10 ** (-2 + k / 20) for k in range(61))  # temperatures, 0.01 to 10
LEAST = 1e-12  # of the logarithmic axis; smaller gradients are drawn there
DRAWS = 2000


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The law at T between softmax and argmax, its gradient and distances over T, and the flow's shift."""
    logits, T = read_logits(values["logits"], MOST), values["temperature"]
    size = len(logits)
    base = read_law(values["base"], size, "base law")
    names, full, best, here = symbols(size, False), tempered(logits, 1.0), tempered(logits, 0.0), tempered(logits, T)
    laws = {"softmax, T = 1": full, f"T = {T:g}": here, "argmax, T = 0": best}
    flow = {"base": base, "mixed by the softmax": shifted(base, here), "shifted by argmax": shifted(base, best)}
    title = f"A draw at temperature {T:g}"
    return {
        "laws": figure_message(
            laws_figure(laws, names, title, PAGE), "tempered-law", f"{title}: {_told(names, here)}", _csv(names, laws)
        ),
        "gradient": _gradient(logits, T),
        "distances": _distances(logits, base, T),
        "flow": figure_message(
            laws_figure(flow, names, "A discrete flow's shift", PAGE),
            "discrete-flow",
            "; ".join(f"{name}: {_told(names, law)}" for name, law in flow.items()),
            _csv(names, flow),
        ),
        "numbers": _numbers(logits, T, values["seed"], names, laws | flow),
    }


def norm_at(logits: Tensor, T: float) -> float:
    """The size of the softmax's Jacobian; argmax, at T = 0, has a gradient of 0, or none where logits are equal."""
    return float(jacobian_norm(logits, T)) if T > 0.0 else 0.0


def distances_at(logits: Tensor, base: Tensor, T: float) -> tuple[float, float, float]:
    """Total variation of a draw at T from softmax and from argmax, and of the mixed base from the shifted one."""
    here, full, best = (tempered(logits, temperature) for temperature in (T, 1.0, 0.0))
    pairs = ((here, full), (here, best), (shifted(base, here), shifted(base, best)))
    return tuple(float(total_variation(*pair)) for pair in pairs)


@lru_cache(maxsize=64)
def norms_on_grid(logits: tuple[float, ...]) -> tuple[float, ...]:
    """`norm_at` of each temperature of `GRID`; kept, for sliders move over it."""
    numbers = torch.tensor(logits, dtype=torch.float64)
    return tuple(norm_at(numbers, T) for T in GRID)


@lru_cache(maxsize=64)
def distances_on_grid(logits: tuple[float, ...], base: tuple[float, ...]) -> tuple[tuple[float, float, float], ...]:
    """`distances_at` of the same."""
    numbers, law = (torch.tensor(values, dtype=torch.float64) for values in (logits, base))
    return tuple(distances_at(numbers, law, T) for T in GRID)


def _gradient(logits: Tensor, T: float) -> str:
    norms = norms_on_grid(tuple(logits.tolist()))
    here, name = norm_at(logits, T), "norm of the gradient"
    curve = {name: [max(norm, LEAST) for norm in norms]}
    figure = over_temperature_figure(
        GRID, curve, T, {name: max(here, LEAST)}, f"Gradient at T = {T:g}: {here:.3g}", name, PAGE, log=True
    )
    said = f"The Jacobian of the softmax at T = {T:g} has norm {here:.4g}."
    return figure_message(figure, "softmax-gradient", said, csv_text(["T", "norm"], zip(GRID, norms, strict=True)))


def _distances(logits: Tensor, base: Tensor, T: float) -> str:
    names = ("draw from softmax", "draw from argmax", "mixed base from shifted")
    rows = distances_on_grid(tuple(logits.tolist()), tuple(base.tolist()))
    here = distances_at(logits, base, T)
    curves = {name: [round(row[at], 6) for row in rows] for at, name in enumerate(names)}
    marked = dict(zip(names, here, strict=True))
    figure = over_temperature_figure(GRID, curves, T, marked, "How far off", "total variation", PAGE)
    said = f"At T = {T:g}: " + ", ".join(f"{name} {value:.4f}" for name, value in marked.items()) + "."
    table_rows = ([t, *row] for t, row in zip(GRID, rows, strict=True))
    return figure_message(figure, "tempered-distance", said, csv_text(["T", *names], table_rows))


def _numbers(logits: Tensor, T: float, seed: int, names: list[str], laws: Mapping[str, Tensor]) -> str:
    rows = [[name, *(f"{p:.4f}" for p in law.tolist()), f"{float(entropy(law)):.4f}"] for name, law in laws.items()]
    drawn = concrete(logits, T, uniforms(seed, 0, 0, "draw", DRAWS * len(logits)).view(DRAWS, -1))
    places = torch.bincount(drawn.argmax(-1), minlength=len(logits)).double() / DRAWS
    rows.append(["largest of Gumbel draws", *(f"{p:.4f}" for p in places.tolist()), f"{float(entropy(places)):.4f}"])
    largest = float(drawn.amax(-1).mean())
    said = [f"{DRAWS:,} draws with Gumbel noise: their largest entry is {largest:.4f} on average."]
    if float(tempered(logits, 0.0).max()) < 1.0:
        said.append("The largest logits are equal: the gradient of the softmax grows as 1/T there.")
    return table("Laws at this temperature", ["", *names, "entropy, nats"], rows, said)


def _told(names: list[str], law: Tensor) -> str:
    return ", ".join(f"{name} {p:.4f}" for name, p in zip(names, law.tolist(), strict=True))


def _csv(names: list[str], laws: Mapping[str, Tensor]) -> str:
    return csv_text(["", *names], [[name, *law.tolist()] for name, law in laws.items()])


VIEW = View(
    "limit",
    "Argmax as a limit",
    WORDS,
    (
        Range("temperature", "Temperature T", 0.0, 4.0, 0.02, 0.3),
        Range("seed", "Seed", 0, 99, 1, 0),
        Written("logits", "Logits", "0.5 0 2 1.5 -1", f"2 to {MOST} numbers, one for each symbol.", lines=1),
        Written("base", "Base law of the flow", "0.6 0.2 0.1 0.1 0", "A probability for each symbol.", lines=1),
    ),
    (
        Part("laws", "plot", wide=False),
        Part("gradient", "plot", wide=False),
        Part("distances", "plot", wide=False),
        Part("flow", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
)
