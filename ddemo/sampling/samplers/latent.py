"""Samplers of Gaussian noise on embeddings (Diffusion-LM): latents move at every step, and words are what is nearest.

The laws are in `ddemo.processes.gaussian`. No token is drawn: a step aims at an estimate of x_0, the mean of the
embeddings under p(x0 | x_t). Temperature, top-k and top-p shape p before the mean is taken of it, down to temperature
0 (or an argmax draw), which leaves the likeliest word alone. The last step arrives at the estimate.
Source: Li et al. 2022 (Diffusion-LM, arXiv 2205.14217).
"""

from torch import Tensor

from ddemo.processes import gaussian
from ddemo.sampling.latents import landed, signal
from ddemo.sampling.samplers.turn import Move, Turn

CLAMPS = ("off", "nearest")


def ddim(turn: Turn) -> Move:
    """The noise that x_t must hold if x_0 is as estimated is kept and turned down; `eta` of it is drawn anew.

    Source: Song et al. 2021 (DDIM, arXiv 2010.02502), eq. 12 and 16.
    """
    return _moved(turn, turn.config.eta)


def ddpm(turn: Turn) -> Move:
    """x_s is drawn from q(x_s | x_t, x_0) of the estimate, which is exact in the limit of many steps.

    Source: Ho et al. 2020 (DDPM, arXiv 2006.11239), eq. 6 and 7.
    """
    return _moved(turn, 1.0)


def _moved(turn: Turn, eta: float) -> Move:
    here, clean = turn.points, estimate(turn)
    noise = turn.normal("noise") if eta > 0.0 else None
    after = here.clone()
    now = turn.latents.times(turn.t)[turn.belief.positions]
    for t in now[now > turn.s].unique().tolist():  # one, unless some wait for the clock
        rows = (now == t).nonzero().squeeze(-1).to(here.device)
        drawn = None if noise is None else noise[rows]
        after[rows] = gaussian.step(here[rows], clean[rows], signal(t), signal(turn.s), eta, drawn)
    words, landing = landed(after, turn.space, turn.refused)
    return Move(words, landing=landing)


def estimate(turn: Turn) -> Tensor:
    """[M, D] float64, what each latent aims at.

    The mean has the least squared error. With `clamp` it is the embedding nearest to the mean instead, so that every
    step is committed to a word (Diffusion-LM, section 4.3, the clamping trick).
    """
    mean = turn.belief.mean(turn.space.embeddings, turn.config)
    if turn.config.clamp == "off":
        return mean
    words, _ = gaussian.nearest(mean, turn.space.embeddings, turn.refused)
    return turn.space.embeddings[words].double()
