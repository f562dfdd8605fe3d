"""The loop as published code has it, to hold `denoise` against: the same tokens, for more work."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ddemo.denoisers.base import Denoiser
from ddemo.sampling.belief import Belief
from ddemo.sampling.config import SamplerConfig
from ddemo.sampling.frame import Frame
from ddemo.sampling.loop import Lane, forward, guided, requests, turn_of, write
from ddemo.sampling.report import Report
from ddemo.sampling.rules import FillRules


def denoise_plainly(
    denoiser: Denoiser, lane: Lane, rules: FillRules | None = None, race: torch.Generator | None = None
) -> Iterator[Frame]:
    """Run one lane to its end: at every step logits for the whole canvas and a float64 softmax of all of them.

    The step rule and its random numbers are those of `denoise`. What differs is what the published loops do (MDLM,
    LLaDA, Dream, MaskGIT): the vocabulary projection runs at every position, probabilities are normalised in float64
    there, the denoiser is called again when nothing has changed, and no keys and values are kept. They tell nothing
    of what they saw, so frames hold what was written only.

    With the numbers of `denoise`, tokens are the same unless a float32 rounding decides: a uniform number within 1e-7
    of the border between two tokens, or two positions whose confidences agree to that. Given a generator in `race`,
    tokens are drawn as in the published loops, by float64 Gumbel noise for every token of the vocabulary at every
    position: the same law.
    """
    rules = rules or FillRules.mask_only(denoiser.vocab_size, denoiser.mask_id)
    while lane.prepared(denoiser):
        yield _step(denoiser, lane, rules, race)


@torch.inference_mode()
def _step(denoiser: Denoiser, lane: Lane, rules: FillRules, race: torch.Generator | None) -> Frame:
    positions = lane.asks(denoiser.mask_id).nonzero().squeeze(-1)
    everywhere = torch.ones_like(lane.canvas.fixed)
    rows = requests(lane, everywhere, denoiser.mask_id)
    logits = guided([forward(denoiser, [row._replace(cache=None)])[0] for row in rows], lane)
    lane.nfe += len(rows)
    logits = rules.apply(logits, lane.canvas.spacing, lane.config.end_of_text)
    p = torch.softmax(logits.double(), -1)
    lane.belief = RacingBelief(positions, p, race) if race else NormalisedBelief(positions, p[positions])
    turn = turn_of(lane, denoiser, rules)
    move = lane.plan.sampler.steps[denoiser.process](turn)
    [(_, frame)] = write([(lane, Report(turn, move, fresh=False))])
    return frame


class NormalisedBelief(Belief):
    """A belief from probabilities [M, V] that are normalised already."""

    def __init__(self, positions: Tensor, p: Tensor):
        super().__init__(positions, p.log())
        self._weights = p

    def draw(self, uniform: Tensor, config: SamplerConfig, rows: Tensor) -> Tensor:
        """As `Belief.draw`, by one cumulative sum over the whole vocabulary."""
        p = self.shaped(config)[rows]
        if config.greedy:
            return p.argmax(-1).to(self.device)
        up_to = p.cumsum(-1)
        drawn = torch.searchsorted(up_to, uniform.to(p.device)[:, None] * up_to[:, -1:], right=True)
        return drawn.clamp_max(p.shape[-1] - 1)[:, 0].to(self.device)


class RacingBelief(NormalisedBelief):
    """A belief that draws by Gumbel noise over the whole canvas; p is [L, V], for all positions."""

    def __init__(self, positions: Tensor, p: Tensor, generator: torch.Generator):
        super().__init__(positions, p[positions])
        self._everywhere, self._generator = p, generator

    def draw(self, uniform: Tensor, config: SamplerConfig, rows: Tensor) -> Tensor:
        """The token [R] of the greatest log p / temperature + Gumbel noise; `uniform` is not read."""
        if config.greedy or config.top_k or config.top_p < 1.0:
            return super().draw(uniform, config, rows)
        noise = torch.rand(self._everywhere.shape, dtype=torch.float64, generator=self._generator)
        noise = -(-noise.clamp_min_(1e-300).log()).log()
        race = self._everywhere.log() + config.temperature * noise.to(self.device)
        return race.argmax(-1)[self.positions][rows]
