"""The "deterministic" steps that are not an argmax draw inside a sampler, each under its own name.

Three things are called deterministic. An argmax draw takes the likeliest token inside any sampler (`draw="argmax"`);
which positions are filled may still be random. The literal step takes the likeliest state of p(x_s | x_t) itself. The
plug-in step replaces p(x0 | x_t) by its likeliest value and then draws from q(x_s | x_t, x0).
"""

import torch

from ddemo.processes import absorbing
from ddemo.sampling.samplers.time_driven import ancestral
from ddemo.sampling.samplers.turn import Move, Turn
from ddemo.sampling.samplers.uniform import mean_posterior, mean_posterior_law


def posterior_argmax_of_masks(turn: Turn) -> Move:
    """x_s = argmax p(x_s | x_t), position by position.

    A mask stays as long as staying is likelier than any one token: (1 - alpha_s) >= (alpha_s - alpha_t) max p. With
    even steps of the linear schedule that holds until the last one, which then commits everything at once, each token
    by itself. Schedules that end more steeply may commit what the model is sure of a little before.
    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006): the mode of the reverse transition.
    """
    likeliest, p = turn.belief.top(1)
    stay = 0.0 if turn.last else absorbing.stay_masked(turn.alpha_t, turn.alpha_s)
    reveals = (1.0 - stay) * p[:, 0] > stay
    return Move(torch.where(reveals, likeliest[:, 0], turn.standing))


def posterior_argmax_of_words(turn: Turn) -> Move:
    """x_s = argmax p(x_s | x_t) under uniform noise, position by position, of the belief as it is.

    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), uniform case.
    """
    return Move(mean_posterior_law(turn, shaped=False).argmax(-1).to(turn.standing.device))


def plug_in_of_masks(turn: Turn) -> Move:
    """x_s ~ q(x_s | x_t, x0 = argmax p(x0 | x_t)): which masks are revealed is random, what they become is not.

    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), `maximum_likelihood` of its published text code.
    """
    return ancestral(turn)


def plug_in_of_words(turn: Turn) -> Move:
    """x_s ~ q(x_s | x_t, x0 = argmax p(x0 | x_t)) under uniform noise.

    Source: Austin et al. 2021 (D3PM, arXiv 2107.03006), `maximum_likelihood` of its published text code.
    """
    return mean_posterior(turn)
