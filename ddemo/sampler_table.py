"""Every sampler on the same prompts: what it costs and what it writes. The tables of docs/samplers.md."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ddemo import metrics, runs
from ddemo.denoisers import Checkpoint
from ddemo.measures import Writing, distinct_n, writing
from ddemo.processes.exact import ExactWorld
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.samplers import of_process

OPENINGS = (
    "The rain had not stopped since morning, and",
    "When the old clock in the hall struck nine,",
    "My dear sister, I write to you from",
    "Nobody in the village could remember",
    '"You must not go there alone," said',
    "At the end of the garden stood",
    "It was late in autumn when the captain",
    "She put down the letter and",
)
SHIPPED = (
    "classics-mdm",
    "classics-uniform",
    "classics-latent",
    "exact-world-uniform",
)  # tables in the documentation
ALSO_ARGMAX = ("confidence", "ancestral", "uniform-ancestral")  # measured with an argmax draw too
LIKELY = 1e-3  # from which a text of an exact world is a case of its own in the total variation


@dataclass(frozen=True)
class Task:
    """What all samplers have to do.

    Attributes:
        prompts: what the texts begin with; "" for a blank page.
        new_tokens: how many are written after each.
        steps: asked for; samplers that the canvas paces take their own number.
        seeds: every prompt is continued once with each.
        together: how many lanes are in one batch.
    """

    prompts: tuple[str, ...] = OPENINGS
    new_tokens: int = 48
    steps: int = 32
    seeds: tuple[int, ...] = (0, 1)
    together: int = 16


BLANK_PAGES = Task(prompts=("",), new_tokens=6, seeds=tuple(range(400)), together=100)


def task_for(checkpoint: Checkpoint) -> Task:
    """Openings of prose for networks; for an exact world many blank pages, whose law is known."""
    return BLANK_PAGES if world_of(checkpoint) else Task()


def world_of(checkpoint: Checkpoint) -> ExactWorld | None:
    """The world that an exact checkpoint knows all about."""
    return getattr(checkpoint.denoiser, "world", None)


def measure_samplers(
    checkpoint: Checkpoint, task: Task | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """One record for each sampler of the checkpoint's noise, with its published defaults at temperature 1.

    What the checkpoint recommends is not read.

    The three steps that are called deterministic are all there: an argmax draw inside a sampler (draw "argmax"), the
    literal `posterior-argmax`, and `plug-in`.

    Keys of a row:
        sampler, title, draw: what ran.
        nfe: denoiser calls a text, on average.
        seconds_per_text: wall time over texts, which share their forward passes.
        bits_per_char, bits_per_char_stderr: of the whole texts under the checkpoint: the bound of `ddemo.metrics`,
            and the exact value in an exact world. How typical texts are, not how good: dull ones have the fewest
            bits. The error is None for a single text.
        distinct_2: different word pairs over all, in what was written after the prompts; see `ddemo.measures`. None
            where no two words were written.
        total_variation: in an exact world, the distance of the texts' law from the truth; see `total_variation`.

    Args:
        task: the checkpoint's own by default, see `task_for`.
        progress: called with (rows done, rows in all).

    Raises:
        InputError: the task does not fit the checkpoint.
    """
    task = task or task_for(checkpoint)
    configs = _configs(checkpoint.denoiser.process, task)
    _row(checkpoint, replace(task, prompts=task.prompts[:1], seeds=task.seeds[:1]), *configs[0])  # warm up
    rows = []
    for done, (sampler, draw) in enumerate(configs, start=1):
        rows.append(_row(checkpoint, task, sampler, draw))
        if progress:
            progress(done, len(configs))
    report = {
        "checkpoint": checkpoint.as_dict(),
        "versions": runs.library_versions(),
        "threads": torch.get_num_threads(),
        "prompts": list(task.prompts),
        "new_tokens": task.new_tokens,
        "steps": task.steps,
        "seeds": len(task.seeds),
        "together": min(task.together, len(task.prompts) * len(task.seeds)),
        "rows": rows,
    }
    if world := world_of(checkpoint):
        report["total_variation_floor"] = expected_total_variation(world, len(task.prompts) * len(task.seeds))
    return report


def _configs(process: str, task: Task) -> list[tuple[str, str]]:
    """Sampler and draw of each row; the argmax draws come last."""
    samplers = [sampler.name for sampler in of_process(process)]
    argmax = [(name, "argmax") for name in ALSO_ARGMAX if name in samplers]
    return [(name, SamplerConfig(sampler=name).draw) for name in samplers] + argmax


def _row(checkpoint: Checkpoint, task: Task, sampler: str, draw: str) -> dict[str, Any]:
    traces = [
        runs.begin(checkpoint, prompt, task.new_tokens, SamplerConfig(sampler, draw, steps=task.steps, seed=seed))
        for prompt in task.prompts
        for seed in task.seeds
    ]
    began = time.perf_counter()
    for first in range(0, len(traces), task.together):
        for _ in runs.carry_out_together(checkpoint, traces[first : first + task.together]):
            pass
    seconds = time.perf_counter() - began
    texts = [writing(trace, checkpoint.codec) for trace in traces]
    row = {
        "sampler": sampler,
        "title": SAMPLERS[sampler].title,
        "draw": "argmax" if traces[0].config.greedy else draw,
        "nfe": sum(trace.nfe for trace in traces) / len(traces),
        "seconds_per_text": seconds / len(traces),
        "distinct_2": distinct_n([stretch for text in texts for stretch in text.stretches], 2),
    }
    row["bits_per_char"], row["bits_per_char_stderr"] = _bits(checkpoint, texts)
    if world := world_of(checkpoint):
        row["total_variation"] = total_variation(world, torch.stack([text.ids for text in texts]))
    return row


def _bits(checkpoint: Checkpoint, texts: Sequence[Writing]) -> tuple[float, float | None]:
    """Bits a character of whole texts, with the standard error over texts; empty texts are left out."""
    texts = [text for text in texts if text.text]
    characters = [len(text.text) for text in texts]
    if world := world_of(checkpoint):
        nats = -_probability(world, torch.stack([text.ids for text in texts])).log()
        bits, error = metrics.ratio(nats / math.log(2), torch.tensor(characters, dtype=torch.float64))
    else:
        words = ~checkpoint.codec.never_drawn
        found = metrics.bound(checkpoint.denoiser, [text.ids for text in texts], characters, words=words)
        bits, error = found.bits_per_char, found.bits_per_char_stderr
    return bits, None if math.isnan(error) else error


def _probability(world: ExactWorld, texts: Tensor) -> Tensor:
    """p [N] of whole texts [N, L] in the world."""
    return world.joint[texts.unbind(1)]


def total_variation(world: ExactWorld, texts: Tensor) -> float:
    """Half the sum of |share - probability| over the world's likely texts, and all the others as one.

    A lower bound of the distance over single texts, most of which nobody could tell apart from samples.

    Args:
        texts: [N, L] int64.
    """
    likely, p = _likely(world)
    seen = (texts[:, None] == likely).all(-1).double().mean(0)
    return 0.5 * ((seen - p).abs().sum() + (seen.sum() - p.sum()).abs()).item()


def expected_total_variation(world: ExactWorld, count: int) -> float:
    """What `total_variation` is on average for `count` texts from the world itself, by the normal approximation."""
    p = _likely(world)[1]
    p = torch.cat([p, 1.0 - p.sum(0, keepdim=True)])
    return 0.5 * (2 * p * (1 - p) / (math.pi * count)).sqrt().sum().item()


def _likely(world: ExactWorld) -> tuple[Tensor, Tensor]:
    """Texts [S, L] of more than `LIKELY` probability, and those probabilities [S]."""
    texts = (world.joint > LIKELY).nonzero()
    return texts, _probability(world, texts)
