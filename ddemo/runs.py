"""From a visitor's text to a trace: begin a run, go on from any of its steps, and carry it out."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from itertools import groupby
from typing import Any

import torch

from ddemo import __version__
from ddemo.denoisers import Checkpoint
from ddemo.denoisers.caches import NONE
from ddemo.denoisers.chat import Turn
from ddemo.denoisers.codec import TextCodec, aligned
from ddemo.errors import InputError
from ddemo.rerun import latents_of, made_elsewhere
from ddemo.sampling import (
    SAMPLERS,
    Canvas,
    Engine,
    FillRules,
    Frame,
    Lane,
    SamplerConfig,
    caches_of,
    check_cache,
    check_process,
    denoise,
    fresh_clock,
    from_noise,
    read_text,
)
from ddemo.sampling.canvas import MaskRun, Spacing, joins_a_word, marker, parse_markers, read_chat
from ddemo.sampling.config import quoted
from ddemo.sampling.edits import clock_after_edits, edited_canvas
from ddemo.sampling.latents import rounded_noise
from ddemo.sampling.samplers import QUOTAS
from ddemo.trace import Segment, Trace

APPROXIMATE = (
    "With this cache the model looks at the text around a block as it was when the block began, so its beliefs are "
    "approximate."
)
MOST_NEW_TOKENS = 1_000_000  # far more than any checkpoint takes; below it, the checkpoint's own limit is named


def begin(checkpoint: Checkpoint, text: str, length: int, config: SamplerConfig) -> Trace:
    """A trace without frames: the canvas of a text, ready to be denoised from t = 1.

    Raises:
        InputError: the text cannot be read, is too long or has nothing to fill, or the settings do not fit it or the
            checkpoint's noise.
    """
    check_process(config, checkpoint.denoiser.process, checkpoint.id)
    canvas = read_text(text, length, checkpoint.codec, checkpoint.denoiser.max_length)
    return begin_on(checkpoint, canvas, config)


def begin_on(checkpoint: Checkpoint, canvas: Canvas, config: SamplerConfig) -> Trace:
    """As `begin`, of a canvas with masks that is within the checkpoint's limit.

    Raises:
        InputError: the settings do not fit the canvas or the checkpoint's noise.
    """
    check_process(config, checkpoint.denoiser.process, checkpoint.id)
    check_cache(config, caches_of(checkpoint.denoiser), checkpoint.id)
    mask_id = checkpoint.codec.mask_id
    clock = fresh_clock(canvas, config, mask_id)
    canvas = _noised(checkpoint, canvas, config, 0)
    trace = Trace(
        checkpoint=checkpoint.as_dict(),
        config=config,
        mask_id=mask_id,
        segments=[Segment(canvas, clock)],
        versions=library_versions(),
    )
    learn_pieces(trace, checkpoint, canvas.tokens.tolist())
    return trace


def begin_chat(checkpoint: Checkpoint, turns: Sequence[Turn], length: int, config: SamplerConfig) -> Trace:
    """As `begin`, of the answer to a conversation.

    Args:
        length: tokens of the answer.

    Raises:
        InputError: as `begin` and `read_chat`.
    """
    canvas = read_chat(turns, length, checkpoint.codec, checkpoint.denoiser.max_length)
    trace = begin_on(checkpoint, canvas, config)
    trace.turns = tuple(turns)
    return trace


def answer_of(trace: Trace, codec: TextCodec) -> str:
    """What a run has answered so far: its text after the conversation, up to where it says that it is over.

    Masks that were never filled are left out, and marks of the conversation's format, which no turn may hold.
    """
    first = trace.segments[0].canvas.fixed.tolist()
    begins = first.index(False) if False in first else len(first)
    written = trace.tokens_at(trace.last_step).tolist()[begins:]
    ends = set(codec.ends.tolist())
    over = next((at for at, token in enumerate(written) if token in ends), len(written))
    marks = set(codec.tokenizer.added_tokens_decoder)
    return codec.decode([token for token in written[:over] if token not in marks]).strip()


def conversation_of(trace: Trace, codec: TextCodec) -> tuple[Turn, ...]:
    """The turns that a run goes on with and its answer, where it has one."""
    said = answer_of(trace, codec)
    return (*trace.turns, Turn("assistant", said)) if said else trace.turns


def _noised(checkpoint: Checkpoint, canvas: Canvas, config: SamplerConfig, step: int) -> Canvas:
    """The canvas as the checkpoint's noise would have it: masks, or words in their place.

    The words are random, or what random latents are nearest to.
    """
    denoiser, codec = checkpoint.denoiser, checkpoint.codec
    if denoiser.process == "absorbing":
        return canvas
    if denoiser.process == "gaussian":
        return rounded_noise(canvas, codec.mask_id, denoiser.space, codec.never_drawn, config.seed, step=step)
    return from_noise(canvas, codec.mask_id, ~codec.never_drawn, config.seed, step=step)


def proceed(
    checkpoint: Checkpoint, trace: Trace, step: int, cells: list[dict[str, Any]] | None, segment: int | None = None
) -> Trace:
    """The run as it stood after `step`, with a visitor's edits, ready to go on.

    Without edits it goes on as it went before: same canvas, same times, same randomness.

    Args:
        checkpoint: what the trace was made with.
        trace: the run; left as it is.
        step: the step to go on from.
        cells: the edited row (see `edited_canvas`), or None.
        segment: which segment is meant where one ended and the next began at `step`; the later one by default.

    Raises:
        InputError: made with another checkpoint or other weights of it, no such step, edits that mean nothing, or
            nothing left to fill.
    """
    if stranger := made_elsewhere(trace, checkpoint):
        raise InputError(stranger)
    canvas = trace.canvas_at(step, segment)
    branch = trace.cut_at(step, segment)
    if cells is None:
        if Lane(**_where(branch)).ended(checkpoint.denoiser):
            raise InputError("Nothing is left to do at this step: mask a word and continue.")
        return branch
    codec, denoiser = checkpoint.codec, checkpoint.denoiser
    time = 0.0 if denoiser.process == "absorbing" else _where(branch)["time"]  # how noised the tokens are that stand
    latent = denoiser.process == "gaussian"
    edited, edits, kept = edited_canvas(
        canvas, cells, codec, codec.never_drawn, denoiser.max_length, must_mask=time == 0.0
    )
    clock = clock_after_edits(edited, codec.mask_id, step, trace.config, time, anew=latent)
    edited = _noised(checkpoint, edited, trace.config, step)
    branch.segments.append(Segment(edited, clock, tuple(edits), kept if latent else ()))
    learn_pieces(branch, checkpoint, edited.tokens.tolist())
    return branch


def request_of(trace: Trace) -> tuple[str, int]:
    """The text and length that `begin` made the run's first canvas from; needs no checkpoint.

    A run of masks is told by the spacing rules that `read_text` gave it: only one that a length asked for leaves its
    end free.

    Raises:
        InputError: no text gives this canvas, as where words of the text stand like a marker around a mask, or the
            run answers a conversation.
    """
    if trace.turns:
        raise InputError("This run answers a conversation, which no text alone gives: save its trace file instead.")
    canvas = trace.segments[0].canvas
    parts, length = _parts_of(canvas, trace.pieces), 0
    if not canvas.fixed[-1] and not canvas.spacing[-1] & Spacing.NO_SPACE_LAST:
        length = parts.pop().count
    text = "".join(marker(part.count) if isinstance(part, MaskRun) else part for part in parts)
    if not _is_read_as(text, parts):
        raise InputError("The text of this run cannot be written with markers: save its trace file instead.")
    return text, length


def _is_read_as(text: str, parts: list[str | MaskRun]) -> bool:
    try:
        return parse_markers(text) == [part for part in parts if part != ""]
    except InputError:
        return False


def _parts_of(canvas: Canvas, pieces: dict[int, bytes]) -> list[str | MaskRun]:
    """A fresh canvas as `parse_markers` gave it to be read."""
    parts: list[str | MaskRun] = []
    ids = canvas.tokens.tolist()
    for is_fixed, run in groupby(range(len(canvas)), canvas.fixed.tolist().__getitem__):
        positions = list(run)
        if is_fixed:
            shown = aligned(pieces[ids[position]] for position in positions)
            parts.append("".join(canvas.own.get(at, text) for at, text in zip(positions, shown, strict=True)))
            continue
        count = 0
        for position in positions:
            if count == 0 and canvas.spacing[position] & Spacing.SPACE_FIRST:
                parts = [*parts[:-1], parts[-1] + " "] if parts and isinstance(parts[-1], str) else [*parts, " "]
            count += 1
            if position == positions[-1] or canvas.spacing[position] & Spacing.NO_SPACE_LAST:
                parts.append(MaskRun(count))
                count = 0
    return parts


def carry_out(
    checkpoint: Checkpoint, trace: Trace, stopped: Callable[[], bool] = lambda: False, engine: Engine | None = None
) -> Iterator[Frame]:
    """Denoise the last segment of `trace`, appending each frame to it before yielding it.

    The trace ends "finished", or "stopped" when `stopped()` says so before a step or the caller closes the
    generator; what was done until then stays usable.

    Args:
        engine: where lanes of other callers share the forward pass; without one the run is alone.

    Raises:
        Exception: whatever went wrong in the lane.
    """
    with closing(carry_out_together(checkpoint, [trace], stopped, engine)) as turns:
        for turn in turns:
            for _, frame in turn:
                yield frame


def carry_out_together(
    checkpoint: Checkpoint,
    traces: Sequence[Trace],
    stopped: Callable[[], bool] = lambda: False,
    engine: Engine | None = None,
) -> Iterator[list[tuple[Trace, Frame]]]:
    """As `carry_out`, for several runs in one batch: the traces that took a step, each with its frame.

    A run that fails leaves the others alone: it is "failed", and its problem is raised once all have ended.
    """
    of_lane = {
        Lane(**_where(trace), latents=latents_of(checkpoint, trace)): (trace, trace.seconds) for trace in traces
    }
    lanes, began = list(of_lane), time.perf_counter()
    for trace in traces:
        trace.state = "running"
    turns = engine.run(lanes) if engine else denoise(checkpoint.denoiser, lanes, FillRules.of(checkpoint.codec))
    try:
        with closing(turns):
            for turn in turns:
                for lane, frame in turn:
                    trace, before = of_lane[lane]
                    trace.frames.append(frame)
                    trace.seconds = before + time.perf_counter() - began
                    learn_pieces(trace, checkpoint, {*frame.ids.ravel().tolist(), *frame.tokens.tolist()})
                yield [(of_lane[lane][0], frame) for lane, frame in turn]
                if stopped():
                    return
        for lane, (trace, _) in of_lane.items():
            trace.state = "failed" if lane.failure else "finished"
    finally:
        for trace in traces:
            trace.state = "stopped" if trace.state == "running" else trace.state
    for lane in lanes:
        if lane.failure:
            raise lane.failure


def _where(trace: Trace) -> dict[str, Any]:
    """A lane's fields, where the trace stands."""
    segment = trace.segments[-1]
    frames = [frame for frame in trace.frames if frame.step > segment.clock.first]
    decoded = torch.ones(len(segment.canvas), dtype=torch.float64)
    for frame in frames:
        decoded[torch.from_numpy(frame.written).long()] = torch.from_numpy(frame.chosen).double()
    return {
        "canvas": segment.canvas,
        "config": trace.config,
        "clock": segment.clock,
        "number": trace.lane,
        "step": trace.last_step,
        "tokens": trace.tokens_at(trace.last_step),
        "nfe": trace.nfe,
        "time": frames[-1].s if frames else segment.clock.start,
        "decoded": decoded,
    }


def checked_request(text: Any, length: Any) -> tuple[str, int]:
    """Text and length from untrusted values.

    Raises:
        InputError: the text is no text, or the length no whole number in range.
    """
    if not isinstance(text, str):
        raise InputError("The text must be a string.")
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    if not is_number or not 0 <= length <= MOST_NEW_TOKENS or length != int(length):
        raise InputError(
            f"The number of new tokens must be a whole number from 0 to {MOST_NEW_TOKENS:,}, not {quoted(length)}."
        )
    return text, int(length)


def progress(checkpoint: Checkpoint, trace: Trace) -> dict[str, Any]:
    """Where a run stands: its text so far (masks as [MASK]), step, masks left and denoiser calls."""
    canvas = trace.canvas_at(trace.last_step)
    return {
        "step": trace.last_step,
        "steps": trace.segments[-1].clock.last,
        "text": canvas.text(checkpoint.codec),
        "masks": int((canvas.tokens == trace.mask_id).sum()),
        "nfe": trace.nfe,
    }


def summary(checkpoint: Checkpoint, trace: Trace) -> dict[str, Any]:
    """What a caller needs to keep of a finished run and to run it again."""
    canvas = trace.canvas_at(trace.last_step)
    return {
        "text": canvas.text(checkpoint.codec),
        "tokens": canvas.tokens.tolist(),
        "nfe": trace.nfe,
        "seed": trace.config.seed,
        "settings": trace.config.as_dict(),
        "seconds": round(trace.seconds, 3),
        "checkpoint": trace.checkpoint,
    }


def notes(trace: Trace, text: str = "") -> list[str]:
    """What a visitor should know about these settings on this text; one sentence each."""
    found = []
    if joins_a_word(text):
        found.append("A mask stands against a word, so what fills it becomes part of that word.")
    if (masks := steps_needed(trace)) is not None and masks < trace.config.steps:
        found.append(f"There are {masks} masks, so the run ends after {masks} of the {trace.config.steps} steps.")
    if trace.config.cache != NONE and trace.checkpoint.get("caches") == "approximate":
        found.append(APPROXIMATE)
    return found


def steps_needed(trace: Trace) -> int | None:
    """After how many steps a fresh run has filled all masks, if it surely has as many; more change nothing."""
    masks = int((trace.segments[0].canvas.tokens == trace.mask_id).sum())
    sampler = SAMPLERS[trace.config.sampler]
    one_a_step = sampler.group == QUOTAS and not sampler.remasks and not trace.config.block_length
    return masks if one_a_step and trace.config.steps >= masks > 0 else None


def library_versions() -> dict[str, str]:
    return {
        "ddemo": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


def learn_pieces(trace: Trace, checkpoint: Checkpoint, ids: Iterable[int]) -> None:
    """Keep the spelling of tokens in the trace, so that views of it need no tokenizer."""
    for token in ids:
        if token not in trace.pieces:
            trace.pieces[token] = checkpoint.codec.piece(token)
