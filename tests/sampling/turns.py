"""Turns made by hand: one step of any sampler, on any belief, canvas and times."""

import torch
from torch import Tensor

from ddemo.processes import LINEAR, SCHEDULES
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.belief import Belief
from ddemo.sampling.samplers import Move, Turn

V, MASK = 6, 5  # of the beliefs made here; the mask is never believed in
M = MASK  # for canvases written out by hand


def random_logits(rows: int, seed: int = 0, spread: float = 2.0) -> Tensor:
    """[rows, V] with -inf at the mask."""
    logits = spread * torch.randn(rows, V, generator=torch.Generator().manual_seed(seed))
    logits[:, MASK] = -torch.inf
    return logits


def canvas_with(masks: list[int], length: int) -> Tensor:
    """[length] words 0 to 4 in turn, with masks at the given positions."""
    tokens = torch.arange(length) % (V - 1)
    tokens[masks] = MASK
    return tokens


def turn_of(
    logits: Tensor,
    sampler: str = "ancestral",
    *,
    tokens: Tensor | None = None,
    open: Tensor | None = None,
    positions: Tensor | None = None,
    index: int = 0,
    steps: int = 4,
    size: int | None = None,
    start: float = 1.0,
    times: tuple[float, float] | None = None,
    decoded: Tensor | None = None,
    predicts: str = "posterior",
    lane: int = 0,
    ends: Tensor | None = None,
    **values,
) -> Turn:
    """A step of `sampler`, by default the first of four on a canvas of nothing but masks.

    Args:
        logits: [M, V], one row for each of `positions`; by default those that are masked and open, or all that are
            open where no mask is.
        tokens: [L]; all masks by default. open: [L] bool, all by default.
        index, steps: which step of how many; times: (t, s), which follow from these unless given.
        size: positions of the block, all that are open by default.
        start: the clock's start.
        values: settings.
    """
    config = SamplerConfig(sampler=sampler, **values)
    definition = SAMPLERS[sampler]
    tokens = torch.full((len(logits),), MASK) if tokens is None else tokens
    open = torch.ones(len(tokens), dtype=torch.bool) if open is None else open
    if positions is None:
        masked = (open & (tokens == MASK)).nonzero().squeeze(-1)
        positions = masked if len(masked) == len(logits) else open.nonzero().squeeze(-1)
    schedule = SCHEDULES[config.schedule] if config.schedule else LINEAR
    t, s = times or tuple(start * definition.grid(i, steps) for i in (index, index + 1))
    alpha_t, alpha_s = (definition.floor + (1.0 - definition.floor) * schedule.alpha(time) for time in (t, s))
    return Turn(
        tokens=tokens,
        open=open,
        belief=Belief(positions, logits),
        mask_id=MASK,
        words=torch.arange(logits.shape[1]) != MASK,
        step=index + 1,
        index=index,
        steps=steps,
        t=t,
        s=s,
        size=int(open.sum()) if size is None else size,
        alpha_t=alpha_t,
        alpha_s=1.0 if s == 0.0 else alpha_s,
        schedule=schedule,
        decoded=torch.ones(len(tokens), dtype=torch.float64) if decoded is None else decoded,
        config=config,
        floor=definition.floor,
        predicts=predicts,
        lane=lane,
        ends=ends,
    )


def take(turn: Turn, process: str = "absorbing") -> Move:
    """What the sampler of the turn's settings wants."""
    return SAMPLERS[turn.config.sampler].steps[process](turn)


def filled(turn: Turn, move: Move) -> list[int]:
    """Positions where a mask became a token."""
    became = turn.masked & (move.after.cpu() != turn.mask_id)
    return turn.belief.positions[became].tolist()


def remasked(turn: Turn, move: Move) -> list[int]:
    """Positions where a token became a mask, by either way of saying so."""
    after = turn.tokens.clone()
    after[turn.belief.positions] = move.after.cpu()
    if move.remask is not None:
        after[move.remask] = turn.mask_id
    return ((turn.tokens != turn.mask_id) & (after == turn.mask_id)).nonzero().flatten().tolist()
