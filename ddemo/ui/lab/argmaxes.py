"""Three argmaxes: three things that are called argmax, on the world of ten sentences, step by step."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from ddemo.figures.look import PAGE
from ddemo.figures.noise.argmaxes import duel_figure, law_figure
from ddemo.figures.noise.plain import MASK
from ddemo.figures.tables import csv_text
from ddemo.processes import Schedule, absorbing
from ddemo.processes.curves import CURVES
from ddemo.processes.exact import ExactWorld
from ddemo.processes.posteriors import one_hot_argmax
from ddemo.sampling.randomness import uniforms
from ddemo.ui.lab.forward import SCHEDULES
from ddemo.ui.lab.noised_text import Group, Row, noised_texts
from ddemo.ui.lab.settings import Choice, Range
from ddemo.ui.lab.view import Part, View
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
"Deterministic sampling" of discrete diffusion can mean three things. A mask at time $t$ has the law

$$p(x_s = v \mid x_t = \text{mask}) = \frac{\alpha_s - \alpha_t}{1 - \alpha_t}\,p(v), \qquad
p(x_s = \text{mask} \mid x_t = \text{mask}) = \frac{1 - \alpha_s}{1 - \alpha_t}$$

Its **literal argmax** is to stay a mask as long as steps are small, so that nothing happens until the end, and then
everything at once. The **plug-in** takes the likeliest $x_0$ for certain, but still throws a coin for when a mask
goes. An **argmax draw** inside a sampler, here in order of confidence, draws nothing at all and sees each word before
it takes the next. The model is exact: the ten sentences of the shipped world, whose likeliest words one by one,
"The queen loves his son.", are none of its sentences.
Source: [MDLM](https://arxiv.org/abs/2406.07524), equation 6; the order of confidence from
[MaskGIT](https://arxiv.org/abs/2202.04200) and [LLaDA](https://arxiv.org/abs/2502.09992).
"""
LITERAL, PLUG_IN, DRAW = "literal argmax", "plug-in", "argmax draw"
MOST_STEPS = 64


@cache
def world() -> ExactWorld:
    return ExactWorld.sentences()


@lru_cache(maxsize=256)
def believed(canvas: tuple[int, ...]) -> Tensor:
    """[L, K + 1] what the world says of x_0; kept, for a canvas often stands through many steps."""
    size, x_t = world().size, torch.tensor(canvas)
    p = world().given(x_t.clamp_max(size - 1), x_t == size)  # entries under the mask are not read
    return torch.cat([p, p.new_zeros(len(canvas), 1)], -1)


@dataclass(frozen=True)
class Moment:
    """One step of one way.

    Attributes:
        canvas: [L] int64 before the step; number K is the mask.
        stay: the probability that a mask stays.
        p: [L, K + 1], what is believed of x_0; never a mask.
        after: [L] int64, the canvas after it.
    """

    canvas: Tensor
    stay: float
    p: Tensor
    after: Tensor

    @property
    def masked(self) -> Tensor:
        """[L] bool, before the step."""
        return self.canvas == self.p.shape[-1] - 1

    @property
    def law(self) -> Tensor:
        """[L, K + 1] p(x_s | x_t)."""
        return absorbing.mean_posterior(self.p, self.canvas, self.stay, self.p.shape[-1] - 1)

    @property
    def plug_in(self) -> Tensor:
        """[L, K + 1] the same, as if the likeliest x_0 were certain."""
        return absorbing.mean_posterior(one_hot_argmax(self.p), self.canvas, self.stay, self.p.shape[-1] - 1)


def literal(moment: Moment, seed: int, step: int, left: float) -> Tensor:
    """The likeliest x_s of every position."""
    return moment.law.argmax(-1)


def plugged_in(moment: Moment, seed: int, step: int, left: float) -> Tensor:
    """A draw from the plug-in law: the word is certain, the moment is not."""
    goes = uniforms(seed, 0, step, "select", len(moment.canvas)) >= moment.stay
    return torch.where(moment.masked & goes, moment.p.argmax(-1), moment.canvas)


def confident(moment: Moment, seed: int, step: int, left: float) -> Tensor:
    """The likeliest words of the most confident masks, so that a share `left` of the canvas stays masked."""
    count = int(moment.masked.sum()) - round(left * len(moment.canvas))
    surest = torch.where(moment.masked, moment.p.amax(-1), -1.0).argsort(descending=True, stable=True)[
        : max(0, count)
    ]
    after = moment.canvas.clone()
    after[surest] = moment.p.argmax(-1)[surest]
    return after


WAYS: dict[str, Callable[[Moment, int, int, float], Tensor]] = {
    LITERAL: literal,
    PLUG_IN: plugged_in,
    DRAW: confident,
}


@lru_cache(maxsize=64)
def walk(way: str, schedule: str, steps: int, seed: int) -> tuple[Moment, ...]:
    """All steps of a way, from masks everywhere."""
    return tuple(_moments(WAYS[way], CURVES[schedule], steps, seed))


def _moments(way: Callable, schedule: Schedule, steps: int, seed: int) -> Iterator[Moment]:
    canvas = torch.full((world().length,), world().size)
    for step in range(1, steps + 1):
        t, s = (steps - step + 1) / steps, (steps - step) / steps
        stay, p = schedule.stay(t, s) if s > 0.0 else 0.0, believed(tuple(canvas.tolist()))
        before = Moment(canvas, stay, p, canvas)
        canvas = way(before, seed, step, s)
        yield Moment(before.canvas, stay, p, canvas)


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The three canvases at the step and at the end, and why the first of them waits."""
    steps = values["steps"]
    step, place = min(values["step"], steps), values["position"] - 1
    walks = {way: walk(way, values["schedule"], steps, values["seed"]) for way in WAYS}
    first = walks[LITERAL]
    stay = [moment.stay for moment in first]
    best = [_best(moment) for moment in first]
    now = first[step - 1]
    names = [*(word.strip() for word in world().words), MASK]
    title = f"Place {place + 1} at step {step} of {steps}, along the literal argmax"
    return {
        "texts": noised_texts([_column(way, moments, step) for way, moments in walks.items()]),
        "duel": figure_message(
            duel_figure(stay, best, step, "Staying against the likeliest word", PAGE),
            "literal-argmax",
            f"At step {step} a mask stays with {stay[step - 1]:.4f}; the likeliest word has {best[step - 1]:.4f}.",
            csv_text(["step", "stay", "likeliest_word"], zip(range(1, steps + 1), stay, best, strict=True)),
        ),
        "law": figure_message(
            law_figure(now.law[place], now.plug_in[place], names, title, PAGE),
            "literal-argmax-law",
            f"{title}: " + ", ".join(f"{n} {p:.4f}" for n, p in zip(names, now.law[place].tolist(), strict=True)),
        ),
        "numbers": _numbers(walks, step, stay, best),
    }


def _best(moment: Moment) -> float:
    """The largest probability that p(x_s | x_t) gives a word at a mask; 0 where no mask is left."""
    return float(torch.where(moment.masked[:, None], moment.law[:, :-1], 0.0).max())


def text_of(canvas: Tensor) -> str:
    """A canvas without masks."""
    return "".join(world().words[token] for token in canvas.tolist())


def _column(way: str, moments: tuple[Moment, ...], step: int) -> Group:
    rows = [(f"after step {step}", moments[step - 1].after), ("at the end", moments[-1].after)]
    return Group(way, [Row(name, _cells(canvas)) for name, canvas in rows])


def _cells(canvas: Tensor) -> list[tuple[str, str]]:
    size = world().size
    return [(" ", "mask") if token == size else (world().words[token], "kept") for token in canvas.tolist()]


def _numbers(walks: Mapping[str, tuple[Moment, ...]], step: int, stay: list[float], best: list[float]) -> str:
    rows = []
    for way, moments in walks.items():
        end = moments[-1].after
        left = int((moments[step - 1].after == world().size).sum())
        begun = next(number for number, moment in enumerate(moments, start=1) if (moment.after != world().size).any())
        rows.append([way, str(left), str(begun), text_of(end), f"{float(world().joint[tuple(end.tolist())]):.6f}"])
    kept, word = stay[step - 1], best[step - 1]
    verdict = "stays a mask everywhere" if kept >= word else "turns into that word"
    said = [
        f"Step {step} of the literal argmax: a mask stays with probability {kept:.4f}, the likeliest word has "
        f"{word:.4f}, so that the argmax {verdict}.",
        f"The likeliest text of this world has probability {float(world().joint.max()):.6f}.",
    ]
    columns = ["", f"masks after step {step}", "first word at step", "text at the end", "its probability"]
    return table("Three argmaxes", columns, rows, said)


VIEW = View(
    "argmaxes",
    "Three argmaxes",
    WORDS,
    (
        Range("steps", "Steps N", 1, MOST_STEPS, 1, 16),
        Range("step", "Step on show", 1, MOST_STEPS, 1, 8),
        Range("position", "Place", 1, 6, 1, 2),
        Range("seed", "Seed", 0, 99, 1, 0),
        Choice("schedule", "Noise schedule", SCHEDULES, "linear", folded=True),
    ),
    (
        Part("texts", "texts"),
        Part("numbers", "numbers"),
        Part("duel", "plot", wide=False),
        Part("law", "plot", wide=False),
    ),
    answer,
)
