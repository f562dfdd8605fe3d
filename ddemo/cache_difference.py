"""How far a cache by blocks is from none: the same run with both, and logits side by side at every step."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ddemo import runs
from ddemo.denoisers import Checkpoint, Denoiser
from ddemo.denoisers.caches import NONE, BlockCache
from ddemo.sampling import SamplerConfig, caches_of


@dataclass(frozen=True)
class CacheDifference:
    """What a cache changed in a run.

    Attributes:
        cache: its kind; exact: whether it claims to change nothing.
        steps: of the run with it; answers: positions that were asked about, in all steps.
        tokens_differ: of the canvas at the end, the share that is not what the run without it wrote, same seed.
        largest_logit: the largest absolute difference between logits with and without it, on the same canvases; those
            that rule a token out are left out.
        likeliest_differ: the share of answers whose likeliest token is another.
    """

    cache: str
    exact: bool
    steps: int
    answers: int
    tokens_differ: float
    largest_logit: float
    likeliest_differ: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class SideBySide:
    """A denoiser that answers with the caches it is given, and holds the answer against the one without."""

    def __init__(self, denoiser: Denoiser):
        self._denoiser = denoiser
        self.answers = self.others = 0
        self.largest = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(
        self,
        tokens: Tensor,
        times: Tensor,
        lengths: Tensor,
        wanted: Tensor,
        caches: Sequence[BlockCache | None] = (),
    ) -> Tensor:
        told = (caches,) if caches else ()
        found = self._denoiser(tokens, times, lengths, wanted, *told)
        plain = self._denoiser(tokens, times, lengths, wanted)
        apart = (found - plain).abs().nan_to_num(nan=0.0)  # of two infinities
        self.largest = max(self.largest, float(apart.max()))
        self.answers += len(found)
        self.others += int((found.argmax(-1) != plain.argmax(-1)).sum())
        return found


def cache_differences(checkpoint: Checkpoint, text: str, length: int, config: SamplerConfig) -> list[CacheDifference]:
    """A record for each cache that the checkpoint can keep; none where it can keep none.

    Args:
        text, length: as `runs.begin` takes them.
        config: the settings of the runs; its own cache is not read.

    Raises:
        InputError: as `runs.begin`.
    """
    caches = caches_of(checkpoint.denoiser)
    plain = _ended(checkpoint, text, length, replace(config, cache=NONE)) if caches.kinds else None
    found = []
    for kind in caches.kinds:
        beside = SideBySide(checkpoint.denoiser)
        watched = replace(checkpoint, denoiser=beside)
        trace = _ended(watched, text, length, replace(config, cache=kind))
        end, other = (one.tokens_at(one.last_step) for one in (trace, plain))
        share = float((end != other).double().mean())
        likeliest = beside.others / max(1, beside.answers)
        found.append(
            CacheDifference(kind, caches.exact, trace.last_step, beside.answers, share, beside.largest, likeliest)
        )
    return found


@torch.inference_mode()
def _ended(checkpoint: Checkpoint, text: str, length: int, config: SamplerConfig) -> Any:
    """The trace of a whole run."""
    trace = runs.begin(checkpoint, text, length, config)
    for _ in runs.carry_out(checkpoint, trace):
        pass
    return trace
