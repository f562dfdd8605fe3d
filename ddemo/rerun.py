"""Going through a run again, as only what made it can; latents, which no file holds, are made anew on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from ddemo.errors import InputError
from ddemo.sampling.latents import Latents, carried_over, from_noise
from ddemo.sampling.loop import Lane, denoise
from ddemo.sampling.rules import FillRules

if TYPE_CHECKING:
    from ddemo.denoisers import Checkpoint
    from ddemo.sampling.frame import Frame
    from ddemo.trace import Segment, Trace


def made_elsewhere(trace: Trace, checkpoint: Checkpoint) -> str:
    """Why a run is no run of this checkpoint, in one sentence; "" where it is."""
    made = trace.checkpoint
    if made["id"] != checkpoint.id or trace.mask_id != checkpoint.codec.mask_id:
        return f"This run was made with {made['id']}, and {checkpoint.id} is loaded."
    if made["revision"] != checkpoint.revision:
        return (
            f"This run was made with revision {made['revision']} of {checkpoint.id}, and revision "
            f"{checkpoint.revision} is loaded."
        )
    return ""


def latents_along(checkpoint: Checkpoint, trace: Trace) -> Iterator[Latents | None]:
    """What each of the run's steps found, and last what stands now: one more than there are frames.

    None under other noise than Gaussian. Frames that were made here remember them. Those from a file do not: then
    each step is taken again, at the price of its denoiser call, and is the same to the bit on the same machine.

    Raises:
        InputError: a step writes something else than the trace says, as another kind of machine may.
    """
    if checkpoint.denoiser.process != "gaussian":
        yield from repeat(None, len(trace.frames) + 1)
        return
    latents, time = None, 1.0
    for index, segment in enumerate(trace.segments):
        latents, time = _begun(checkpoint, trace, index, latents, time), segment.clock.start
        following = trace.segments[index + 1 : index + 2]
        last = following[0].clock.first if following else trace.last_step
        frames = trace.frames[segment.clock.first : last]
        after = _remembered(frames) if remembers(trace) else _again(checkpoint, trace, segment, latents, frames)
        for frame, moved in zip(frames, after, strict=True):
            yield latents
            latents, time = moved, frame.s
    yield latents


def remembers(trace: Trace) -> bool:
    """Whether the frames hold their latents."""
    return all(frame.latents is not None for frame in trace.frames)


def _remembered(frames: Sequence[Frame]) -> Iterator[Latents]:
    return (frame.latents for frame in frames)


def _again(
    checkpoint: Checkpoint, trace: Trace, segment: Segment, latents: Latents, frames: Sequence[Frame]
) -> Iterator[Latents]:
    """Latents after each of a segment's frames, from its beginning."""
    lane = Lane(segment.canvas, trace.config, segment.clock, trace.lane, latents=latents)
    turns = denoise(checkpoint.denoiser, [lane], FillRules.of(checkpoint.codec))
    for frame in frames:
        again = next(turns, None)
        if lane.failure:
            raise lane.failure
        if again is None or not _same(again[0][1], frame):
            raise InputError(
                f"Step {frame.step} of this run comes out otherwise here than where it was made "
                f"({trace.checkpoint['device']}): run it again from its beginning."
            )
        yield lane.latents


def latents_of(checkpoint: Checkpoint, trace: Trace) -> Latents | None:
    """x_t where the trace stands; None under other noise than Gaussian. Cost and errors as for `latents_along`."""
    *_, latents = latents_along(checkpoint, trace)
    return latents


def _begun(checkpoint: Checkpoint, trace: Trace, index: int, before: Latents | None, time: float) -> Latents:
    """Where a segment begins, from what stood at `time` at the end of the segment before."""
    segment, space = trace.segments[index], checkpoint.denoiser.space
    draw = (trace.config.seed, trace.lane, segment.clock.first)
    if before is None:
        return from_noise(segment.canvas, space, *draw)
    if len(segment.kept) != len(segment.canvas):
        raise InputError("This run does not tell what its edits kept, so it cannot be gone through again.")
    return carried_over(before, time, segment.canvas, segment.kept, space, *draw)


def _same(one: Frame, other: Frame) -> bool:
    return np.array_equal(one.written, other.written) and np.array_equal(one.tokens, other.tokens)
