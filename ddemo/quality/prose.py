"""Prose: what a checkpoint writes after held-out prompts, beside what really followed and what the judge writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any

import torch

from ddemo import runs
from ddemo.compare.questions import SIDE_BY_SIDE
from ddemo.denoisers import Checkpoint, TextCodec
from ddemo.judge import Judge
from ddemo.measures import REPEATED, Value, distinct_n, mean_of, repetition, words, writing
from ddemo.quality import held_out
from ddemo.quality.held_out import Passage
from ddemo.quality.running import TOGETHER, Circumstances, Progress, Tally, carried_out, mean, perplexity, seeded
from ddemo.quality.tables import cell, in_words, markdown
from ddemo.sampling import SAMPLERS, SamplerConfig, check_process
from ddemo.settings import settings_of

TEXTS, LENGTH, PROMPT = 32, 48, 12
TEMPERATURES, STEPS = (0.0, 0.7, 1.0), (64,)  # of the usual grid
REAL, OF_JUDGE = "the real text", "written by the judge"
MEASURES = {  # -> heading, decimals
    "perplexity": ("judge perplexity", 1),
    "distinct_2": ("distinct-2", 3),
    "repetition": (f"rep-{REPEATED}", 3),
    "characters": ("characters", 0),
    "nfe": ("NFE", 1),
    "seconds": ("seconds", 2),
}


@dataclass(frozen=True)
class Written:
    """Texts of one origin after the same prompts.

    Attributes:
        origin: `REAL`, `OF_JUDGE` or the checkpoint's id.
        config: the settings of the first text's run, the others have the next seeds; None where there was no run.
        measures: perplexity (the judge's, of the whole text, geometric mean), distinct_2 (of all continuations
            together), repetition (seq-rep-4), characters (of the continuation), nfe and seconds (a text). Means over
            texts with standard errors, but for distinct_2.
        continuations: what was written after each prompt.
    """

    origin: str
    config: SamplerConfig | None
    measures: dict[str, Value]
    continuations: list[str]


@dataclass(frozen=True)
class Prose:
    """The result: a `Written` for the real text, the judge and every cell of the grid, in this order."""

    circumstances: Circumstances
    length: int
    prompts: list[str]
    rows: list[Written]


def grid(process: str, values: Mapping[str, Sequence[Any]] | None = None) -> list[SamplerConfig]:
    """Every combination of some settings, each once: a setting that a sampler does not read makes no cell of its own.

    Args:
        process: the checkpoint's noise.
        values: setting -> its values; what is missing is the usual: samplers that differ in what drives them,
            argmax (temperature 0) beside two temperatures, 64 steps.

    Raises:
        InputError: settings that make no sense, or a sampler of another noise.
    """
    usual = {"sampler": SIDE_BY_SIDE[process], "temperature": TEMPERATURES, "steps": STEPS}
    values = usual | {name: given for name, given in (values or {}).items() if given}
    cells = (_cell(dict(zip(values, chosen, strict=True)), process) for chosen in product(*values.values()))
    return list(dict.fromkeys(cells))


def _cell(given: dict[str, Any], process: str) -> SamplerConfig:
    plain = SamplerConfig.from_values({"sampler": given["sampler"]})
    check_process(plain, process, "the checkpoint")
    read = settings_of(SAMPLERS[plain.sampler], process)
    config = SamplerConfig.from_values({name: given[name] for name in given if name in read} | {"candidates": 0})
    return replace(config, top_k=0, top_p=1.0) if config.greedy else config  # an argmax is the same among fewer


def measure_prose(
    checkpoint: Checkpoint,
    documents: Sequence[str],
    judge: Judge | None,
    cells: Sequence[SamplerConfig] | None = None,
    texts: int = TEXTS,
    length: int = LENGTH,
    prompt: int = PROMPT,
    seed: int = 0,
    together: int = TOGETHER,
    progress: Progress | None = None,
) -> Prose:
    """Continue the beginnings of held-out paragraphs with every cell's settings, and measure what comes of it.

    All rows have the same prompts, the cells the same seeds. The real text has as many tokens of the checkpoint's as
    its runs write, and the judge writes as many characters as the real text has. Nothing is picked.

    Args:
        documents: held-out text.
        judge: an independent model; None leaves out its row and its numbers.
        cells: settings; the usual `grid` by default. Their seed is not read.
        texts: how many prompts.
        length: tokens that are written after each.
        prompt: tokens of a prompt at most; it ends with a word.
        seed: of the prompts and of the first text; the others have the next ones.
        together: texts in a batch.
        progress: (done, all), in texts run or judged.

    Raises:
        InputError: too little text, or settings that do not fit the checkpoint.
    """
    circumstances = Circumstances.of(checkpoint, judge, texts, seed)
    cells = grid(checkpoint.denoiser.process) if cells is None else cells
    generator = torch.Generator().manual_seed(seed)
    found = held_out.passages(checkpoint.codec, documents, texts, length, prompt, generator)
    prompts = [checkpoint.codec.decode(passage.prompt.tolist()) for passage in found]
    for config in cells:  # what cannot be run is said before minutes have gone by
        runs.begin(checkpoint, prompts[0], length, config)
    tally = Tally(texts * (2 * len(cells) + (3 if judge else 1)), progress)
    rows = [_real(checkpoint.codec, found, prompts, judge, tally)]
    if judge:
        rows.append(_by_judge(judge, prompts, [len(text) for text in rows[0].continuations], generator, tally))
    for config in cells:
        rows.append(_by_checkpoint(checkpoint, config, prompts, length, seed, together, judge, tally))
    return Prose(circumstances, length, prompts, rows)


def _real(
    codec: TextCodec, found: Sequence[Passage], prompts: Sequence[str], judge: Judge | None, tally: Tally
) -> Written:
    whole = [codec.decode([*passage.prompt.tolist(), *passage.following.tolist()]) for passage in found]
    after = [text[len(prompt) :] for text, prompt in zip(whole, prompts, strict=True)]
    return Written(REAL, None, _measures(judge, whole, after, tally), after)


def _by_judge(
    judge: Judge, prompts: Sequence[str], characters: Sequence[int], generator: torch.Generator, tally: Tally
) -> Written:
    after = []
    for prompt, count in zip(prompts, characters, strict=True):
        after.append(judge.continue_text(prompt, count, generator))
        tally.add()
    whole = [prompt + text for prompt, text in zip(prompts, after, strict=True)]
    return Written(OF_JUDGE, None, _measures(judge, whole, after, tally), after)


def _by_checkpoint(
    checkpoint: Checkpoint,
    config: SamplerConfig,
    prompts: Sequence[str],
    length: int,
    seed: int,
    together: int,
    judge: Judge | None,
    tally: Tally,
) -> Written:
    traces = [
        runs.begin(checkpoint, prompt, length, replace(config, seed=seeded(seed, index)))
        for index, prompt in enumerate(prompts)
    ]
    whole, seconds = [], []
    for trace, took in carried_out(checkpoint, traces, together, tally):
        whole.append(writing(trace, checkpoint.codec).text)
        seconds.append(took)
    after = [text[len(prompt) :] for text, prompt in zip(whole, prompts, strict=True)]
    cost = {"nfe": mean([trace.nfe for trace in traces]), "seconds": Value(fmean(seconds))}
    measures = _measures(judge, whole, after, tally) | cost
    return Written(checkpoint.id, replace(config, seed=seed), measures, after)


def _measures(
    judge: Judge | None, whole: Sequence[str], continuations: Sequence[str], tally: Tally
) -> dict[str, Value]:
    spoken = [words(text) for text in continuations]
    return {
        "perplexity": perplexity(judge, whole, tally),
        "distinct_2": _counted(distinct_n(spoken, 2)),
        "repetition": mean_of([_counted(repetition([text])) for text in spoken]),
        "characters": mean([len(text) for text in continuations]),
    }


def _counted(number: float | None) -> Value:
    return Value(number, why="" if number is not None else "Too few words were written.")


def as_markdown(result: Prose) -> str:
    """The table of a model card."""
    head = ["text", "draw", "steps", *(heading for heading, _ in MEASURES.values())]
    rows = [[*_named(row, result.circumstances.checkpoint["process"]), *_cells(row)] for row in result.rows]
    return markdown(head, rows, list(_notes(result)), numbers_from=3)


def _named(row: Written, process: str) -> list[str]:
    return [row.origin, "", ""] if row.config is None else in_words(row.config, process)


def _cells(row: Written) -> Iterator[str]:
    return (cell(row.measures.get(name), decimals) for name, (_, decimals) in MEASURES.items())


def _notes(result: Prose) -> Iterator[str]:
    yield f"{result.length} tokens after the first words of held-out paragraphs." + (
        " The judge wrote as many characters as the real text has, at temperature 1."
        if any(row.origin == OF_JUDGE for row in result.rows)
        else ""
    )
    yield (
        f"Text that repeats itself has a low perplexity: read it beside distinct-2 (of all continuations together) "
        f"and rep-{REPEATED}, and against the real text. {result.circumstances.sentence}"
    )
