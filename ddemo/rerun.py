"""Going through a run of latents again: a trace holds what they rounded to, and its randomness makes them anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from ddemo.errors import InputError
from ddemo.sampling.latents import Latents, carried_over, from_noise
from ddemo.sampling.loop import Lane, denoise
from ddemo.sampling.rules import FillRules

if TYPE_CHECKING:
    from ddemo.denoisers import Checkpoint
    from ddemo.trace import Trace


def latents_along(checkpoint: Checkpoint, trace: Trace) -> Iterator[Latents | None]:
    """What each of the run's steps found, and last what stands now: one more than there are frames.

    None under other noise than Gaussian. Each step is taken again, at the price of its denoiser call, and is the same
    to the bit on the same machine.

    Raises:
        InputError: it writes something else than the trace says, as another kind of machine may.
    """
    if checkpoint.denoiser.process != "gaussian":
        yield from repeat(None, len(trace.frames) + 1)
        return
    rules, lane = FillRules.of(checkpoint.codec), None
    for index, segment in enumerate(trace.segments):
        lane = _begun(checkpoint, trace, index, lane)
        following = trace.segments[index + 1 : index + 2]
        last = following[0].clock.first if following else trace.last_step
        turns = denoise(checkpoint.denoiser, [lane], rules)
        for frame in trace.frames[segment.clock.first : last]:
            yield lane.latents
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


def _begun(checkpoint: Checkpoint, trace: Trace, index: int, before: Lane | None) -> Lane:
    """A lane where a segment begins, from the one that came to the end of the segment before."""
    segment, space = trace.segments[index], checkpoint.denoiser.space
    canvas, draw = segment.canvas, (trace.config.seed, trace.lane, segment.clock.first)
    if before is None:
        latents = from_noise(canvas, space, *draw)
    elif len(segment.kept) != len(canvas):
        raise InputError("This run does not tell what its edits kept, so it cannot be gone through again.")
    else:
        latents = carried_over(before.latents, before.time, canvas, segment.kept, space, *draw)
    return Lane(canvas, trace.config, segment.clock, trace.lane, latents=latents)


def _same(one, other) -> bool:
    return np.array_equal(one.written, other.written) and np.array_equal(one.tokens, other.tokens)
