"""How fast a checkpoint denoises on this machine, where the time goes, and how much longer a plain loop takes."""

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ddemo import runs
from ddemo.cache_difference import cache_differences
from ddemo.denoisers import Checkpoint, Denoiser
from ddemo.sampling import SAMPLERS, FillRules, Frame, Lane, SamplerConfig, denoise
from ddemo.sampling.frame import ARRAYS, NOWHERE
from ddemo.sampling.plain import denoise_plainly
from ddemo.sampling.samplers import of_process
from ddemo.settings import default_sampler
from ddemo.trace import Trace

LENGTHS = (32, 64, 128, 256)
USUAL = ("confidence", "ancestral", "uniform-ancestral", "ddpm")  # measured at every length, where they fit the noise


@dataclass(frozen=True)
class Effort:
    """How much is measured; lengths are cut to what the checkpoint takes.

    Attributes:
        repeats: runs at each length; the median counts.
        rounds: runs of each sampler, ours and the plain loop in turn.
        tokens: canvas of each sampler.
        mixed: lengths of the mixed lanes, in turn.
        each: canvas of the equal lanes.
        trace: tokens and steps of the run whose memory is measured.
    """

    repeats: int = 5
    rounds: int = 3
    tokens: int = 128
    mixed: tuple[int, ...] = (16, 32, 64, 128)
    each: int = 64
    trace: tuple[int, int] = (256, 256)


FULL = Effort()
QUICK = Effort(repeats=1, rounds=1, tokens=8, mixed=(4, 8), each=8, trace=(16, 8))


class TimedDenoiser:
    """A denoiser that adds up the time spent in its calls, by a clock that gives seconds; by default, on the wall."""

    def __init__(self, denoiser: Denoiser, clock: Callable[[], float] | None = None):
        self._denoiser = denoiser
        self.clock = clock or time.perf_counter
        self.seconds = 0.0
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, *arguments):
        began = self.clock()
        logits = self._denoiser(*arguments)
        _wait_for(self._denoiser)
        self.seconds += self.clock() - began
        self.calls += 1
        return logits


def timed(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with a `TimedDenoiser`; its weights are hashed now rather than under the clock."""
    copy = replace(checkpoint, denoiser=TimedDenoiser(checkpoint.denoiser))
    _ = copy.revision
    return copy


def measure(
    checkpoint: Checkpoint, lengths: Sequence[int] | None = None, steps: int = 32, effort: Effort = FULL
) -> dict[str, Any]:
    """All that is measured, on blank pages and with top-5 candidates.

    Keys:
        checkpoint, versions, threads: what ran and on what.
        rows: see `at_lengths`; samplers: see `every_sampler`; lanes: see `many_lanes`; trace: see `memory`.
        caches: see `cached`; empty for a checkpoint that can keep none.
        synchronisations_per_step: on CUDA, how often the host waited for the device; None elsewhere.

    Raises:
        InputError: a length that the checkpoint does not take, or steps out of range.
    """
    longest = checkpoint.denoiser.max_length
    if lengths is None:
        lengths = [length for length in LENGTHS if length <= longest] or [longest]
    under = timed(checkpoint)
    return {
        "checkpoint": checkpoint.as_dict(),
        "versions": runs.library_versions(),
        "threads": torch.get_num_threads(),
        "rows": at_lengths(under, lengths, steps, effort.repeats),
        "samplers": every_sampler(under, min(effort.tokens, longest), steps, effort.rounds),
        "lanes": many_lanes(under, steps, effort),
        "trace": memory(checkpoint, min(effort.trace[0], longest), effort.trace[1]),
        "synchronisations_per_step": synchronisations(checkpoint, min(effort.tokens, longest), steps),
        "caches": cached(checkpoint, min(effort.tokens, longest), steps),
    }


def at_lengths(checkpoint: Checkpoint, lengths: Sequence[int], steps: int, repeats: int) -> list[dict[str, Any]]:
    """One record for each canvas length and usual sampler, medians after a warm-up.

    Keys: `ms_per_call` (one denoiser call), `nfe`, `tokens_per_second`, `share_outside` (of wall time outside
    denoiser calls, messages for the browser included), `first_frame_ms` (from text to the first message),
    `bytes_per_frame` and `bytes_largest_frame` with candidates and `bytes_per_frame_without`.
    """
    usual = [name for name in USUAL if checkpoint.denoiser.process in SAMPLERS[name].processes]
    rows = []
    for length in lengths:
        for sampler in usual:
            config = SamplerConfig(sampler=sampler, steps=steps)
            watched = [_watch(checkpoint, length, config) for _ in range(repeats + 1)][1:]
            without = _watch(checkpoint, length, replace(config, candidates=0))
            rows.append(
                {
                    "length": length,
                    "sampler": sampler,
                    "steps": steps,
                    "ms_per_call": _median(watched, "ms_per_call"),
                    "nfe": watched[0].nfe,
                    "tokens_per_second": _median(watched, "tokens_per_second"),
                    "share_outside": _median(watched, "share_outside"),
                    "first_frame_ms": 1000 * _median(watched, "first_frame"),
                    "bytes_per_frame": statistics.mean(watched[0].sizes),
                    "bytes_largest_frame": max(watched[0].sizes),
                    "bytes_per_frame_without": statistics.mean(without.sizes),
                }
            )
    return rows


def every_sampler(checkpoint: Checkpoint, length: int, steps: int, rounds: int) -> list[dict[str, Any]]:
    """A record for each sampler of the checkpoint's noise: ours and the plain loop in turn, medians after a warm-up.

    Keys: `steps` (taken), `nfe`, `ms_per_step`, `share_outside` (messages included), `plain_nfe`,
    `plain_ms_per_step`, `times_faster` (plain over ours, a step; messages left out of both) and `same_tokens`, which
    a run of the plain loop with our random numbers tells; the one that is timed draws by Gumbel noise, as published
    loops do. `times_faster_same_numbers` is the ratio to the former.
    """
    rows, race = [], torch.Generator().manual_seed(0)
    for sampler in of_process(checkpoint.denoiser.process):
        config = SamplerConfig(sampler=sampler.name, steps=steps)
        page = (checkpoint, length, config)
        tried = [(_watch(*page), _plainly(*page, race), _plainly(*page)) for _ in range(rounds + 1)][1:]
        ours, racing, same = zip(*tried, strict=True)
        own, racing, plain = (
            1000 * _median(results, attribute) / results[0].steps
            for results, attribute in ((ours, "denoising"), (racing, "wall"), (same, "wall"))
        )
        rows.append(
            {
                "sampler": sampler.name,
                "length": length,
                "steps": ours[0].steps,
                "nfe": ours[0].nfe,
                "ms_per_step": own,
                "share_outside": _median(ours, "share_outside"),
                "plain_nfe": same[0].nfe,
                "plain_ms_per_step": racing,
                "times_faster": racing / own,
                "times_faster_same_numbers": plain / own,
                "same_tokens": ours[0].tokens == same[0].tokens,
            }
        )
    return rows


def many_lanes(checkpoint: Checkpoint, steps: int, effort: Effort) -> dict[str, Any]:
    """What lanes that share the forward pass cost and gain.

    Keys:
        mixed: 16 lanes of mixed lengths, samplers and seeds: `share_outside` (messages included), `ms_per_turn`.
        equal: 8 lanes against one: `tokens_per_second`, `of_one` and `gain`, their ratio; `turns_per_second`, the
            rate of frames; taken in turn.
    """
    longest, process = checkpoint.denoiser.max_length, checkpoint.denoiser.process
    samplers, lengths = of_process(process), [min(length, longest) for length in effort.mixed]
    mixed = [
        (lengths[i % len(lengths)], SamplerConfig(sampler=samplers[i % len(samplers)].name, steps=steps, seed=i))
        for i in range(16)
    ]
    usual = default_sampler(process).name
    each = min(effort.each, longest)
    eight = [(each, SamplerConfig(sampler=usual, steps=steps, seed=i)) for i in range(8)]
    kinds, rounds = (mixed, eight, eight[:1]), range(effort.rounds + 1)
    watched = [[_watch_lanes(checkpoint, lanes) for lanes in kinds] for _ in rounds][1:]
    of_mixed, of_eight, of_one = zip(*watched, strict=True)
    together, alone = _median(of_eight, "tokens_per_second"), _median(of_one, "tokens_per_second")
    return {
        "mixed": {
            "lanes": len(mixed),
            "shortest": min(lengths),
            "longest": max(lengths),
            "share_outside": _median(of_mixed, "share_outside"),
            "ms_per_turn": _median(of_mixed, "ms_per_turn"),
        },
        "equal": {
            "lanes": len(eight),
            "length": each,
            "sampler": usual,
            "tokens_per_second": together,
            "of_one": alone,
            "gain": together / alone,
            "turns_per_second": 1000 / _median(of_eight, "ms_per_turn"),
        },
    }


def memory(checkpoint: Checkpoint, length: int, steps: int) -> dict[str, Any]:
    """What a run of many steps leaves behind, for a sampler that asks about every position at each of them.

    Keys: `bytes` held by the frames' arrays, `json_bytes` of the saved trace, and what ran.
    """
    process = checkpoint.denoiser.process
    sampler = next(sampler for sampler in of_process(process) if sampler.reads_free(process))
    trace = runs.begin(checkpoint, "", length, SamplerConfig(sampler=sampler.name, steps=steps))
    for _ in runs.carry_out(checkpoint, trace):
        pass
    return {
        "sampler": sampler.name,
        "length": length,
        "steps": trace.last_step,
        "candidates": trace.config.candidates,
        "bytes": held(trace.frames),
        "json_bytes": len(trace.to_json()),
    }


def held(frames: Sequence[Frame]) -> int:
    """Bytes of the memory that the frames' arrays and latents keep alive, each buffer counted once."""
    arrays = [getattr(frame, name) for frame in frames for name in (*ARRAYS, *NOWHERE)]
    owners = [array if array.base is None else array.base for array in arrays]
    latents = sum(frame.latents.points.nbytes for frame in frames if frame.latents is not None)
    return latents + sum({id(owner): owner.nbytes for owner in owners}.values())


def cached(checkpoint: Checkpoint, length: int, steps: int) -> list[dict[str, Any]]:
    """What each cache by blocks changes in an argmax run of the usual sampler, in four blocks of a blank page or in
    those that the network was trained with: see `CacheDifference`."""
    if checkpoint.denoiser.process != "absorbing":
        return []
    block = getattr(checkpoint.denoiser, "block_length", max(1, length // 4))
    length = max(block, length - length % block)
    if length > checkpoint.denoiser.max_length:
        return []
    usual = default_sampler("absorbing").name
    config = SamplerConfig(usual, draw="argmax", block_length=block, steps=max(steps, length // block))
    return [found.as_dict() for found in cache_differences(checkpoint, "", length, config)]


def synchronisations(checkpoint: Checkpoint, length: int, steps: int) -> float | None:
    """How often a step of the usual sampler makes the host wait for a CUDA device; None on others."""
    if checkpoint.denoiser.device.type != "cuda":
        return None
    config = SamplerConfig(sampler=default_sampler(checkpoint.denoiser.process).name, steps=steps)
    lane = _lane(runs.begin(checkpoint, "", length, config))
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            turns = sum(1 for _ in denoise(checkpoint.denoiser, [lane], FillRules.of(checkpoint.codec)))
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return sum("synchronizing" in str(warning.message) for warning in said) / turns


@dataclass(frozen=True)
class Watched:
    """What one run took, in seconds.

    Attributes:
        wall: from the text to the last message; inside: in the denoiser; saying: in writing messages.
        first_frame: from the text to the first message.
        calls: of the denoiser.
        steps: turns that were taken; nfe: denoiser calls of all lanes.
        sizes: bytes of the messages.
        tokens: how each lane's canvas ended.
    """

    wall: float
    inside: float
    saying: float
    first_frame: float
    calls: int
    steps: int
    nfe: int
    sizes: list[int]
    tokens: list[list[int]]

    @property
    def share_outside(self) -> float:
        return 1.0 - self.inside / self.wall

    @property
    def ms_per_call(self) -> float:
        return 1000 * self.inside / self.calls

    @property
    def ms_per_turn(self) -> float:
        return 1000 * self.wall / self.steps

    @property
    def tokens_per_second(self) -> float:
        return sum(map(len, self.tokens)) / self.wall

    @property
    def denoising(self) -> float:
        """All but the messages, which the plain loop does not write."""
        return self.wall - self.saying


def _watch(checkpoint: Checkpoint, length: int, config: SamplerConfig) -> Watched:
    return _watch_lanes(checkpoint, [(length, config)])


def _watch_lanes(checkpoint: Checkpoint, pages: Sequence[tuple[int, SamplerConfig]]) -> Watched:
    """Blank pages (tokens, settings) of a `timed` checkpoint, from their text to their last message."""
    from ddemo.ui.token_canvas.messages import Messages  # here: what measures no page should not load Gradio

    denoiser = checkpoint.denoiser
    inside, calls, began = denoiser.seconds, denoiser.calls, time.perf_counter()
    traces = [runs.begin(checkpoint, "", length, config) for length, config in pages]
    views = {id(trace): Messages("benchmark", trace) for trace in traces}
    for messages in views.values():
        messages.open()
    sizes, saying, first_frame, steps = [], 0.0, None, 0
    for turn in runs.carry_out_together(checkpoint, traces):
        said = time.perf_counter()
        sizes += [len(views[id(trace)].frame(frame).encode()) for trace, frame in turn]
        now = time.perf_counter()
        saying += now - said
        first_frame = first_frame or now - began
        steps += 1
    wall = time.perf_counter() - began
    return Watched(
        wall=wall,
        inside=denoiser.seconds - inside,
        saying=saying,
        first_frame=first_frame,
        calls=denoiser.calls - calls,
        steps=steps,
        nfe=sum(trace.nfe for trace in traces),
        sizes=sizes,
        tokens=[trace.tokens_at(trace.last_step).tolist() for trace in traces],
    )


@dataclass(frozen=True)
class PlainRun:
    """What the plain loop took: seconds, steps, denoiser calls, and how the canvas ended."""

    wall: float
    steps: int
    nfe: int
    tokens: list[list[int]]


def _plainly(
    checkpoint: Checkpoint, length: int, config: SamplerConfig, race: torch.Generator | None = None
) -> PlainRun:
    """A blank page in the plain loop."""
    began = time.perf_counter()
    lane = _lane(runs.begin(checkpoint, "", length, config))
    steps = sum(1 for _ in denoise_plainly(checkpoint.denoiser, lane, FillRules.of(checkpoint.codec), race))
    return PlainRun(time.perf_counter() - began, steps, lane.nfe, [lane.tokens.tolist()])


def _lane(trace: Trace) -> Lane:
    """The lane of a run that was begun and not carried on."""
    segment = trace.segments[0]
    return Lane(segment.canvas, trace.config, segment.clock, trace.lane)


def _median(results: Sequence, attribute: str) -> float:
    return statistics.median(getattr(result, attribute) for result in results)


LENGTH_COLUMNS = {
    "tokens": "{length}",
    "sampler": "{sampler}",
    "ms a call": "{ms_per_call:.1f}",
    "NFE": "{nfe}",
    "tokens/s": "{tokens_per_second:.1f}",
    "outside": "{share_outside:.1%}",
    "first frame": "{first_frame_ms:.0f} ms",
    "bytes a frame": "{bytes_per_frame:.0f}",
    "without": "{bytes_per_frame_without:.0f}",
}
SAMPLER_COLUMNS = {
    "sampler": "{sampler}",
    "tokens": "{length}",
    "steps": "{steps}",
    "NFE": "{nfe}",
    "ms a step": "{ms_per_step:.1f}",
    "outside": "{share_outside:.1%}",
    "plain NFE": "{plain_nfe}",
    "plain ms": "{plain_ms_per_step:.1f}",
    "times faster": "{times_faster:.2f}",
    "same numbers": "{times_faster_same_numbers:.2f}",
    "same tokens": "{same_tokens}",
}


def as_table(report: dict[str, Any]) -> str:
    """A report for people."""
    tables = table(LENGTH_COLUMNS, report["rows"]), table(SAMPLER_COLUMNS, report["samplers"])
    return "\n\n".join((*tables, _sentences(report)))


def _sentences(report: dict[str, Any]) -> str:
    lines = [
        "{lanes} mixed lanes of {shortest} to {longest} tokens: {share_outside:.1%} outside, {ms_per_turn:.0f} ms a "
        "turn.".format(**report["lanes"]["mixed"]),
        "{lanes} lanes of {length} tokens: {tokens_per_second:.0f} tokens/s, {gain:.2f} times one lane's "
        "{of_one:.0f}; {turns_per_second:.1f} frames a second of each.".format(**report["lanes"]["equal"]),
        "{length} tokens in {steps} steps with top-{candidates}: {bytes:,} bytes of frames, {json_bytes:,} "
        "saved.".format(**report["trace"]),
    ]
    for row in report["caches"]:
        word = "exact" if row["exact"] else "approximate"
        lines.append(
            f"With the {row['cache']} cache ({word}), {row['tokens_differ']:.1%} of the tokens differ from the run "
            f"without; logits by {row['largest_logit']:.2g} at most, the likeliest token at "
            f"{row['likeliest_differ']:.1%} of the positions asked about."
        )
    if report["synchronisations_per_step"] is not None:
        lines.append(f"The host waits for the device {report['synchronisations_per_step']:.1f} times a step.")
    return "\n".join(lines)


def table(columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> str:
    """Columns as wide as they need to be: names to the left, numbers to the right."""
    cells = [list(columns), *([template.format(**row) for template in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = ["<" if head in ("sampler", "cache") else ">" for head in columns]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, aligned, widths, strict=True))
        for line in cells
    )


def _wait_for(denoiser: Denoiser) -> None:
    if denoiser.device.type == "cuda":
        torch.cuda.synchronize(denoiser.device)
