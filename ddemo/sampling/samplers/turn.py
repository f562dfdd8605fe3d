"""What a step sees (Turn) and what it wants written (Move)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddemo.processes import Schedule
from ddemo.sampling.belief import Belief
from ddemo.sampling.randomness import normals, uniforms

if TYPE_CHECKING:
    from ddemo.processes.gaussian import Space
    from ddemo.sampling.config import SamplerConfig
    from ddemo.sampling.latents import Landing, Latents


@dataclass(frozen=True)
class Turn:
    """All that a step may look at. Rows are the positions that the belief is about.

    Attributes:
        tokens: [L] int64 on the CPU, the canvas x_t.
        open: [L] bool on the CPU: positions that this step may change.
        belief: p(x0 | x_t) at M rows.
        mask_id: id of the mask.
        words: [V] bool on the CPU: what noise may consist of.
        floor: see `Sampler`.
        predicts: "posterior" or "leave-one-out", see `Denoiser`.
        step: the number of this step.
        index: how many steps of this block were taken before; steps: how many it has.
        t, s: the times before and after the step.
        size: positions of this block; share: of them, what is noise where the block begins.
        alpha_t, alpha_s: the share of tokens that stand at those times.
        schedule: alpha as a function of time.
        decoded: [L] float64: how probable each token was when it was written.
        config: the lane's settings.
        lane: the lane's number, part of its randomness.
        ends: [E] int64, tokens that say that the text is over.
        latents, space: under Gaussian noise, x_t and where the words are in it.
    """

    tokens: Tensor
    open: Tensor
    belief: Belief
    mask_id: int
    words: Tensor
    step: int
    index: int
    steps: int
    t: float
    s: float
    size: int
    alpha_t: float
    alpha_s: float
    schedule: Schedule
    decoded: Tensor
    config: SamplerConfig
    share: float = 1.0
    floor: float = 0.0
    predicts: str = "posterior"
    lane: int = 0
    ends: Tensor | None = None
    latents: Latents | None = None
    space: Space | None = None

    @property
    def last(self) -> bool:
        """Whether this is the block's last step, which leaves no mask."""
        return self.index + 1 >= self.steps

    @property
    def slope(self) -> float:
        """d alpha / dt at t, of alpha_t as it is used here."""
        return (1.0 - self.floor) * self.schedule.derivative(self.t)

    @property
    def hazard(self) -> float:
        """-alpha' / (1 - alpha) at t: how fast noise turns clean as time runs backwards; the same for any floor."""
        return self.schedule.hazard(self.t)

    @property
    def stride(self) -> float:
        return self.t - self.s

    @cached_property
    def standing(self) -> Tensor:
        """[M] the tokens at the rows, on the belief's device."""
        return self.tokens[self.belief.positions].to(self.belief.device)

    @cached_property
    def masked(self) -> Tensor:
        """[M] bool on the CPU: which rows hold a mask."""
        return self.tokens[self.belief.positions] == self.mask_id

    @cached_property
    def every(self) -> Tensor:
        """[M] all rows."""
        return torch.arange(len(self.belief), device=self.belief.device)

    def uniform(self, purpose: str) -> Tensor:
        """[M] float64 on the CPU: this step's random number of each row's position."""
        return self.uniform_everywhere(purpose)[self.belief.positions]

    def uniform_everywhere(self, purpose: str) -> Tensor:
        """[L] float64 on the CPU."""
        return uniforms(self.config.seed, self.lane, self.step, purpose, len(self.tokens))

    def normal(self, purpose: str) -> Tensor:
        """[M, D] float64 on the belief's device: this step's standard normal noise of each row's position."""
        width = self.space.embeddings.shape[1]
        drawn = normals(self.config.seed, self.lane, self.step, purpose, len(self.tokens), width)
        return drawn[self.belief.positions].to(self.belief.device)

    @cached_property
    def points(self) -> Tensor:
        """[M, D] float64: the latents at the rows."""
        return self.latents.points[self.belief.positions.to(self.belief.device)]

    @cached_property
    def refused(self) -> Tensor:
        """[M, V] bool: what may not stand at the rows."""
        return self.belief.logits == -torch.inf

    def gumbel(self, purpose: str) -> Tensor:
        """[M] float64 standard Gumbel noise."""
        return -(-self.uniform(purpose).clamp_min(1e-300).log()).log()

    def draw(self, rows: Tensor) -> Tensor:
        """A token [R] for the given rows of the belief, which ascend; all of them, or given on the CPU."""
        uniform = self.uniform("draw")
        if len(rows) < len(self.belief):
            uniform = uniform[rows]
        return self.belief.draw(uniform, self.config, rows.to(self.belief.device))

    def filled(self, rows: Tensor) -> Tensor:
        """What stands at the rows when the given ones, on the CPU and ascending, get a drawn token: [M]."""
        return self.standing.index_copy(0, rows.to(self.belief.device), self.draw(rows))

    def sure(self, tokens: Tensor) -> Tensor:
        """[M] how probable the model finds `tokens`, before temperature, top-k and top-p.

        With end_of_text = "late" a token that ends the text counts as the least sure, so it is committed last
        (LLaDA's `confidence_eos_eot_inf`).
        """
        return self.put_off_ends(self.belief.probability(tokens, self.every), tokens)

    def put_off_ends(self, ranking: Tensor, tokens: Tensor) -> Tensor:
        if self.config.end_of_text != "late" or self.ends is None or not len(self.ends):
            return ranking
        return ranking.masked_fill(torch.isin(tokens, self.ends.to(tokens.device)), -torch.inf)

    def reveal(self, probability: float) -> Tensor:
        """What stands at the rows when each mask turns into a drawn token with `probability`: [M]."""
        chosen = self.masked & (self.uniform("select") >= 1.0 - probability)
        return self.filled(chosen.nonzero().squeeze(-1))

    def keep_best(self, ranking: Tensor, drafts: Tensor, count: int) -> Tensor:
        """What stands at the rows when the `count` of the highest rank get their draft: [M].

        Rows are masks; equal ranks go from left to right.
        """
        best = ranking.argsort(descending=True, stable=True)[:count]
        return self.standing.index_copy(0, best, drafts[best])


@dataclass(frozen=True)
class Move:
    """What a step wants.

    Attributes:
        after: [M] int64 on the belief's device: what stands at each row afterwards.
        remask: [L] bool on the CPU: positions to mask again besides.
        landing: under Gaussian noise, where the latents of the rows lie afterwards; `after` is what they round to.
    """

    after: Tensor
    remask: Tensor | None = None
    landing: Landing | None = None
