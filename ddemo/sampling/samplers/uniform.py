"""Samplers of uniform noise: every free position holds a token at all times, and may change at every step.

The laws are in `ddemo.processes.uniform`; a token is taken from them by an inverse CDF. Temperature, top-k, top-p and
an argmax draw shape p(x0 | x_t) before the law is made of it.
"""

import torch
from torch import Tensor

from ddemo.processes import uniform
from ddemo.sampling.belief import Belief, inverse_cdf
from ddemo.sampling.samplers.turn import Move, Turn


def mean_posterior(turn: Turn) -> Move:
    """x_s is drawn from sum over x0 of p(x0 | x_t) q(x_s | x_t, x0): exact for the posterior that a denoiser learns.

    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), uniform case, by Bayes' rule.
    """
    return _drawn(turn, mean_posterior_law(turn))


def mean_posterior_law(turn: Turn, shaped: bool = True) -> Tensor:
    """[M, V] float64, of what the draw's settings make of the belief, or of the belief itself."""
    p = posterior(turn) if shaped else posterior_belief(turn).shaped()
    return uniform.mean_posterior(p, turn.standing, turn.alpha_t, turn.alpha_s, _words(turn))


def joint_weighted(turn: Turn) -> Move:
    """x_s is drawn from q(x_t | x_s) sum over x0 of q(x_s | x0) p(x0), normalised: exact for leave-one-out beliefs.

    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), eq. 4; Hoogeboom et al. 2021 (multinomial diffusion, arXiv
    2102.05379); Schiff et al. 2024 (UDLM, arXiv 2412.10193).
    """
    return _drawn(turn, joint_weighted_law(turn))


def joint_weighted_law(turn: Turn) -> Tensor:
    """[M, V] float64; p is taken as the denoiser gives it, which is what the published samplers do."""
    p = turn.belief.shaped(turn.config)
    return uniform.joint_weighted(p, turn.standing, turn.alpha_t, turn.alpha_s, _words(turn))


def analytic(turn: Turn) -> Move:
    """SEDD's analytic (Tweedie) step from the scores; the extra last step denoises.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), with alpha(1) = 0.001 as published, so that sigma is finite.
    """
    return _drawn(turn, analytic_law(turn))


def analytic_law(turn: Turn) -> Tensor:
    """[M, V] float64."""
    score = uniform.scores(posterior(turn), turn.standing, turn.alpha_t, _words(turn))
    return uniform.analytic(score, turn.standing, turn.alpha_t, turn.alpha_s, _words(turn))


def euler(turn: Turn) -> Move:
    """An Euler step of the reverse rates that the scores give; the extra last step is the analytic denoise step.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), Euler sampling.
    """
    if turn.last:
        return analytic(turn)
    return _drawn(turn, uniform.euler(reverse_rates(turn), turn.standing, turn.stride))


def tau_leaping(turn: Turn) -> Move:
    """Jumps are counted over the stride at fixed rates; a position with exactly one takes it.

    The extra last step takes the likeliest token everywhere.
    Source: Campbell et al. 2022 (tau-LDR, arXiv 2205.14987), with the final argmax of its published code.
    """
    if turn.last:
        return Move(posterior_belief(turn).likeliest.to(turn.standing.device))
    return _drawn(turn, uniform.tau_leap(reverse_rates(turn), turn.standing, turn.stride))


def reverse_rates(turn: Turn) -> Tensor:
    """[M, V] float64 rates out of x_t as time runs backwards, per unit of t."""
    score = uniform.scores(posterior(turn), turn.standing, turn.alpha_t, _words(turn))
    return uniform.rates(score, turn.standing, -turn.slope / turn.alpha_t, _words(turn))


def flow(turn: Turn) -> Move:
    """A target x1 ~ p(x0 | x_t) is drawn everywhere; a position jumps with probability 1 - e^(-stride * its rates).

    The rate to the target is kappa' / (1 - kappa), and 0 where it already stands. A corrector above 0 adds the
    divergence-free part: a rate of corrector * kappa' / kappa back to noise, and corrector * kappa' / (1 - kappa)
    more to the target; it is left out where nothing has survived, since kappa is 0 there. The last step goes to the
    targets.
    Source: Gat et al. 2024 (discrete flow matching, arXiv 2407.15595).
    """
    targets = inverse_cdf(posterior(turn), turn.uniform("draw")).to(turn.standing.device)
    if turn.last:
        return Move(targets)
    c, words = turn.config.corrector if turn.alpha_t > 0.0 else 0.0, _words(turn)
    back = c * -turn.slope / turn.alpha_t if c else 0.0
    rate = (words.double() * back / int(words.sum())).repeat(len(targets), 1)
    forward = torch.full_like(rate[:, :1], (1.0 + c) * turn.hazard)
    rate = rate.scatter_add(1, targets[:, None], forward).scatter(1, turn.standing[:, None], 0.0)
    law = uniform.jump(rate, turn.standing, turn.stride)
    return Move(inverse_cdf(law, turn.uniform("select")).to(turn.standing.device))


def posterior(turn: Turn) -> Tensor:
    """p(x0 | x_t) [M, V] float64 as the draw's settings shape it."""
    return posterior_belief(turn).shaped(turn.config)


def posterior_belief(turn: Turn) -> Belief:
    """p(x0 | x_t), whichever of the two beliefs the denoiser gives."""
    if turn.predicts != "leave-one-out":
        return turn.belief
    p = uniform.posterior_from(turn.belief.shaped(), turn.standing, turn.alpha_t, _words(turn))
    return Belief(turn.belief.positions, p.log())


def _words(turn: Turn) -> Tensor:
    return turn.words.to(turn.belief.device)


def _drawn(turn: Turn, law: Tensor) -> Move:
    return Move(inverse_cdf(law, turn.uniform("draw")).to(turn.standing.device))
