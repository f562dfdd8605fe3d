"""How fast a network of a real shape denoises here, with and without caches by blocks, on random weights."""

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ddemo import runs
from ddemo.benchmark import TimedDenoiser, table
from ddemo.denoisers.caches import NONE
from ddemo.denoisers.fit import Use, bytes_of, fit, free_memory, in_bytes
from ddemo.denoisers.shapes import SHAPES, random_denoiser, size_of
from ddemo.errors import InputError
from ddemo.sampling import Canvas, Lane, SamplerConfig, caches_of, denoise

LENGTHS = (128, 256, 512)
BLOCK = 32  # tokens of a lane's block, as Fast-dLLM's runs have them
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
TOGETHER = (1, 2, 4)  # tokens a step for which times a token are worked out
THRESHOLD = 0.9


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        lengths: canvases, where none are asked for.
        steps: steps inside a block that are timed; repeats: times that all is done.
    """

    lengths: tuple[int, ...] = LENGTHS
    steps: int = 3
    repeats: int = 2


FULL = Effort()
QUICK = Effort(LENGTHS[:1], 1, 1)


@dataclass(frozen=True)
class Timed:
    """One turn of the loop: seconds in all, and in the denoiser; tokens that it committed."""

    wall: float
    inside: float
    committed: int


def measure_shape(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    lengths: Sequence[int] | None = None,
    effort: Effort = FULL,
    force: bool = False,
    clock: str = "wall",
) -> dict[str, Any]:
    """Times and memory of a shape in `SHAPES`.

    A canvas holds two blocks of masks, the second one in the middle, where blocks stand on average; what is around
    them is fixed. The Fast-dLLM sampler with threshold 0.9 fills the first block, and its steps after the first one
    are timed. A run with threshold 0, which fills a block in a step, then tells what the first step of a block takes.

    Keys of the report: `shape`, `source`, `numbers` (parameters), `device`, `dtype`, `threads`, `versions`,
    `clock`, `weight_bytes`, `estimated_bytes` (of memory, by `ddemo.denoisers.fit`), `together` (tokens a step that
    are assumed, `TOGETHER`), and `rows`, one for each length and cache, with

        length, block, cache, exact: what was run.
        first_ms, step_ms: a block's first step, and each after it, medians; pass_ms: of the latter, in the denoiser.
        over_pass: step over pass, less 1.
        committed: tokens a step that the threshold let through.
        ms_per_token, times_faster: for each of `together`; the latter against a token a step without a cache.
        tokens_per_second: at a token a step.
        peak_bytes: the most memory that the process had up to there; on CUDA, that was taken on the device.

    Args:
        clock: "wall", or "processor" for the processor time of all threads of this process, which says more where
            other programs want the same processors.

    Raises:
        InputError: no such shape, lengths out of range, or it does not fit and is not forced.
    """
    if name not in SHAPES:
        raise InputError(f"shape must be one of {', '.join(SHAPES)}, not {name[:40]!r}.")
    shape, kind = SHAPES[name], str(dtype).removeprefix("torch.")
    lengths = sorted(lengths or [length for length in effort.lengths if length <= shape.longest] or [shape.longest])
    if lengths[0] < 4 or lengths[-1] > shape.longest:
        raise InputError(f"lengths must be from 4 to {shape.longest:,} for {name}.")
    size = size_of(shape)
    held = fit(size, Use(kind, lengths[-1], 1, cached=True), free_memory(device))
    if held.verdict == "does not fit" and not force:
        raise InputError(f"{name} is not measured here. {held.sentence}")
    denoiser = random_denoiser(shape, device, dtype)
    timed = TimedDenoiser(denoiser, CLOCKS[clock])
    return {
        "shape": name,
        "source": shape.source,
        "numbers": size.numbers,
        "device": device.type,
        "dtype": kind,
        "threads": torch.get_num_threads(),
        "clock": clock,
        "versions": runs.library_versions(),
        "weight_bytes": bytes_of(denoiser),
        "estimated_bytes": held.need.total,
        "together": list(TOGETHER),
        "rows": [row for length in lengths for row in _at_length(timed, length, effort)],
    }


def _at_length(denoiser: TimedDenoiser, length: int, effort: Effort) -> list[dict[str, Any]]:
    """A row for each cache that the denoiser can keep, and one without."""
    caches = caches_of(denoiser)
    block = min(getattr(denoiser, "block_length", BLOCK), length // 4)
    rows: list[dict[str, Any]] = []
    for kind in (NONE, *caches.kinds):
        _reset_peak(denoiser)
        steps, firsts = [], []
        for _ in range(effort.repeats):
            steps += _turns(denoiser, length, block, kind, THRESHOLD, 1 + effort.steps)[1:]
            firsts += _turns(denoiser, length, block, kind, 0.0, 2)[1:]
        step, first, inside = (
            1000 * statistics.median(seconds)
            for seconds in ([t.wall for t in steps], [t.wall for t in firsts], [t.inside for t in steps])
        )
        # In a block, its first step and one for each further so many tokens.
        per_token = [(first + (-(-block // k) - 1) * step) / block for k in TOGETHER]
        plain = rows[0]["ms_per_token"][0] if rows else per_token[0]
        rows.append(
            {
                "length": length,
                "block": block,
                "cache": kind,
                "exact": kind == NONE or caches.exact,
                "first_ms": first,
                "step_ms": step,
                "pass_ms": inside,
                "over_pass": step / inside - 1.0,
                "committed": statistics.mean(t.committed for t in steps),
                "ms_per_token": per_token,
                "times_faster": [plain / each for each in per_token],
                "tokens_per_second": 1000 / per_token[0],
                "peak_bytes": _peak(denoiser),
            }
        )
    return rows


def _turns(denoiser: TimedDenoiser, length: int, block: int, cache: str, threshold: float, count: int) -> list[Timed]:
    """The first turns of a lane whose second block is in the middle of its canvas."""
    begin = (length - block) // 2 - block
    tokens = torch.arange(length) % max(1, denoiser.mask_id)
    free = (torch.arange(length) >= begin) & (torch.arange(length) < begin + 2 * block)
    canvas = Canvas(tokens.masked_fill(free, denoiser.mask_id), ~free, torch.zeros(length, dtype=torch.uint8))
    config = SamplerConfig("threshold", draw="argmax", threshold=threshold, block_length=block, cache=cache)
    lane = Lane.fresh(canvas, config, denoiser.mask_id)
    turns = denoise(denoiser, [lane])
    found = []
    for _ in range(count):
        before, began = denoiser.seconds, denoiser.clock()
        turn = next(turns, None)
        if lane.failure:
            raise lane.failure
        if turn is None:
            break  # a short block is filled before that many turns
        wall = denoiser.clock() - began
        found.append(Timed(wall, denoiser.seconds - before, len(turn[0][1].written)))
    return found


def _reset_peak(denoiser: TimedDenoiser) -> None:
    if denoiser.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(denoiser.device)


def _peak(denoiser: TimedDenoiser) -> int:
    """Bytes: of the device since the last reset, else the most that the process has had."""
    if denoiser.device.type == "cuda":
        return torch.cuda.max_memory_allocated(denoiser.device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


COLUMNS = {
    "tokens": "{length}",
    "block": "{block}",
    "cache": "{cache}",
    "first step ms": "{first_ms:.0f}",
    "step ms": "{step_ms:.0f}",
    "over the pass": "{over_pass:.1%}",
    "tokens/s": "{tokens_per_second:.2f}",
    "peak": "{peak}",
    "ms a token at {together}": "{each}",
    "times faster": "{faster}",
}


def as_table(report: dict[str, Any]) -> str:
    """A report for people."""
    together = ", ".join(map(str, report["together"]))
    columns = {head.format(together=together): cell for head, cell in COLUMNS.items()}
    rows = [
        row
        | {"cache": _told(row), "peak": in_bytes(row["peak_bytes"])}
        | {"each": " / ".join(f"{ms:.0f}" for ms in row["ms_per_token"])}
        | {"faster": " / ".join(f"{times:.1f}" for times in row["times_faster"])}
        for row in report["rows"]
    ]
    committed = max(row["committed"] for row in report["rows"])
    lines = [
        f"{report['shape']}: {report['numbers']:,} random weights in {report['dtype']}, "
        f"{in_bytes(report['weight_bytes'])}, shape of {report['source']}; {report['device']}, "
        f"{report['threads']} threads; {report['clock']} time.",
        table(columns, rows),
        f"ms a token are worked out for {together} tokens a step, which is assumed: a threshold of {THRESHOLD} let "
        f"{committed:.1f} a step through here, for random weights are sure of nothing. Times faster are for the "
        "same, against one token a step without a cache; tokens/s is at one token a step.",
        f"Memory was estimated at {in_bytes(report['estimated_bytes'])} for the longest canvas with a cache.",
    ]
    return "\n\n".join(lines)


def _told(row: dict[str, Any]) -> str:
    if row["cache"] == NONE:
        return NONE
    return f"{row['cache']} ({'exact' if row['exact'] else 'approximate'})"
