"""Samplers whose steps follow the clock: each is a reverse transition of the noise from t to s, for masks.

How probably a mask is revealed is the published formula in `ddemo.processes.absorbing`; the token is then drawn from
p(x0 | x_t). Their counterparts under uniform noise are in `uniform.py`.
"""

import torch

from ddemo.processes import absorbing
from ddemo.sampling.samplers.turn import Move, Turn

SEDD_END = 1e-5  # the time at which SEDD stops and denoises
SEDD_FLOOR = 1e-3  # its alpha at t = 1, so that sigma and the scores are finite
DREAM_END = 1e-3
TAU_LDR_END = 0.01


def ancestral(turn: Turn) -> Move:
    """Each mask is revealed with probability 1 - (1 - alpha_s) / (1 - alpha_t): the exact reverse transition.

    Masks fill in random order.
    Source: Sahoo et al. 2024 (MDLM, arXiv 2406.07524), eq. 7; Austin et al. 2021 (D3PM, arXiv 2107.03006).
    """
    return Move(turn.reveal(1.0 if turn.last else 1.0 - absorbing.stay_masked(turn.alpha_t, turn.alpha_s)))


def dream_origin(turn: Turn) -> Move:
    """Each mask is revealed with probability 1 - s / t, on times from 1 to 0.001; the last step reveals all.

    Source: Ye et al. 2025 (Dream, arXiv 2508.15487), `alg="origin"`.
    """
    return Move(turn.reveal(1.0 if turn.last else 1.0 - turn.s / turn.t))


def dream_grid(index: int, steps: int) -> float:
    """Equal strides from 1 to 0.001, and the last step is taken to 0."""
    return 0.0 if index == steps else 1.0 - (1.0 - DREAM_END) * index / steps


def sedd_analytic(turn: Turn) -> Move:
    """Tweedie's step from the scores; the extra last step denoises: no mask may stay.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), analytic sampling with its final denoise step.
    """
    if turn.last:
        return Move(turn.reveal(1.0))
    scores = absorbing.score_scale(turn.alpha_t)
    return Move(turn.reveal(absorbing.analytic_reveal(scores, turn.alpha_t, turn.alpha_s)))


def sedd_euler(turn: Turn) -> Move:
    """An Euler step of the reverse rate that the scores give; the extra last step denoises.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), Euler sampling with its final denoise step.
    """
    if turn.last:
        return Move(turn.reveal(1.0))
    sigma_rate = -turn.slope / turn.alpha_t
    return Move(turn.reveal(absorbing.euler_reveal(absorbing.score_scale(turn.alpha_t), sigma_rate, turn.stride)))


def sedd_grid(index: int, steps: int) -> float:
    """Equal strides from 1 to 0.00001, then one step to 0."""
    return 0.0 if index == steps else 1.0 - (1.0 - SEDD_END) * index / max(1, steps - 1)


def tau_leaping(turn: Turn) -> Move:
    """Jumps of all positions are counted over the stride at fixed rates; a position with exactly one jump takes it.

    The extra last step takes the likeliest token for every mask that is left.
    Source: Campbell et al. 2022 (tau-LDR, arXiv 2205.14987), tau-leaping with multiple jumps of a position rejected
    and the final argmax of its published code.
    """
    if turn.last:
        return Move(torch.where(turn.masked.to(turn.standing.device), turn.belief.likeliest, turn.standing))
    return Move(turn.reveal(absorbing.one_jump(turn.stride * turn.hazard)))


def tau_grid(index: int, steps: int) -> float:
    """Equal strides from 1 to 0.01, then one step to 0."""
    return 0.0 if index == steps else 1.0 - (1.0 - TAU_LDR_END) * index / max(1, steps - 1)


def flow(turn: Turn) -> Move:
    """A target x1 ~ p(x0 | x_t) is drawn at each mask, which jumps there with probability 1 - e^(-stride * rate).

    The rate is kappa' / (1 - kappa) = -alpha' / (1 - alpha). A corrector above 0 adds the divergence-free part that
    sends tokens back to the mask at corrector * kappa' / kappa and masks forward so much the faster; it is left out
    where nothing has survived, since kappa is 0 there.
    Source: Gat et al. 2024 (discrete flow matching, arXiv 2407.15595); not the discrete flows of Tran et al. 2019,
    which are invertible maps.
    """
    if turn.last:
        return Move(turn.reveal(1.0))
    c = turn.config.corrector if turn.alpha_t > 0.0 else 0.0
    after = turn.reveal(absorbing.any_jump(turn.stride * (1.0 + c) * turn.hazard))
    if c == 0.0:
        return Move(after)
    back = c * -turn.slope / turn.alpha_t
    return Move(after, _remasked(turn, absorbing.any_jump(turn.stride * back)))


def first_hitting(turn: Turn) -> Move:
    """One mask, uniformly chosen, is revealed at the time when the next of all masks would have been hit.

    The limit of infinitely many ancestral steps, at one denoiser call a token. The hitting time is drawn before the
    denoiser is asked (see `ddemo.sampling.loop`).
    Source: Zheng et al. 2024 (arXiv 2409.02908), first-hitting sampler.
    """
    chosen = int(turn.uniform("select").argmax())
    return Move(turn.filled(torch.tensor([chosen])))


def remdm_cap(turn: Turn) -> Move:
    """ReMDM with remasking probability min(eta, its maximum).

    Source: Wang et al. 2025 (ReMDM, arXiv 2503.00307), max-capped schedule.
    """
    most = absorbing.most_remasking(turn.alpha_t, turn.alpha_s)
    return _remdm(turn, turn.alpha_t, turn.alpha_s, min(turn.config.eta, most))


def remdm_rescale(turn: Turn) -> Move:
    """ReMDM with remasking probability eta times its maximum.

    Source: Wang et al. 2025 (ReMDM, arXiv 2503.00307), rescaled schedule.
    """
    most = absorbing.most_remasking(turn.alpha_t, turn.alpha_s)
    return _remdm(turn, turn.alpha_t, turn.alpha_s, turn.config.eta * most)


def remdm_conf(turn: Turn) -> Move:
    """ReMDM whose remasking probability, eta times its maximum, is shared out by doubt at the time of writing.

    A token's share is its part in the softmax of minus the probability that it was written with. Masks, which have no
    part in it, are revealed as in the ancestral step.
    Source: Wang et al. 2025 (ReMDM, arXiv 2503.00307), confidence-based schedule; its code has eta = 1.
    """
    if turn.last:
        return Move(turn.reveal(1.0))
    most = absorbing.most_remasking(turn.alpha_t, turn.alpha_s)
    tokens = turn.open & (turn.tokens != turn.mask_id)
    doubt = torch.zeros(len(turn.tokens), dtype=torch.float64)
    if bool(tokens.any()):
        doubt[tokens] = torch.softmax(-turn.decoded[tokens], 0)
    remask = turn.config.eta * most * doubt
    after = turn.reveal(1.0 - absorbing.stay_masked(turn.alpha_t, turn.alpha_s))
    return Move(after, tokens & (turn.uniform_everywhere("remask") < remask))


def remdm_loop(turn: Turn) -> Move:
    """ReMDM in three phases: write most of the text, then hold it and rewrite parts of it, then finish.

    Until t_on alpha rises to alpha_on; between t_on and t_off it stays there while tokens are masked again with
    probability eta (at most its maximum) and masks revealed so as to keep it; from t_off it rises to 1.
    Source: Wang et al. 2025 (ReMDM, arXiv 2503.00307), loop.
    """
    config = turn.config
    alpha_t, alpha_s = (looped_alpha(t, config.t_on, config.t_off, config.alpha_on) for t in (turn.t, turn.s))
    remask = 0.0
    if config.t_off < turn.t <= config.t_on:
        remask = min(config.eta, absorbing.most_remasking(alpha_t, alpha_s))
    return _remdm(turn, alpha_t, alpha_s, remask)


def looped_alpha(t: float, t_on: float, t_off: float, alpha_on: float) -> float:
    """The share of tokens that stand at time t of ReMDM's loop."""
    if t > t_on:
        return (1.0 - t) * alpha_on / (1.0 - t_on)
    if t > t_off:
        return alpha_on
    return 1.0 - t * (1.0 - alpha_on) / t_off


def _remdm(turn: Turn, alpha_t: float, alpha_s: float, remask: float) -> Move:
    """Reveal and remask so that the share of masks at s is 1 - alpha_s."""
    if turn.last:
        return Move(turn.reveal(1.0))
    return Move(turn.reveal(absorbing.remasking_reveal(alpha_t, alpha_s, remask)), _remasked(turn, remask))


def _remasked(turn: Turn, probability: float) -> torch.Tensor:
    """[L] bool: tokens that are masked again, each with `probability`."""
    tokens = turn.open & (turn.tokens != turn.mask_id)
    return tokens & (turn.uniform_everywhere("remask") < probability)
