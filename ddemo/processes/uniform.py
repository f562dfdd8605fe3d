"""Uniform noise: a token turns into one drawn uniformly from the K words, and may turn again.

q(x_t | x_s) = a [x_t = x_s] + (1 - a) / K, with a = alpha_t / alpha_s. Every function here works on rows: N positions
over V tokens of which the K with `words` true can be noise. Laws are [N, V] float64 and sum to 1.

Two beliefs have to be told apart. The posterior p(x0 | x_t) has seen the token that stands at the position, the
leave-one-out belief has not; they are tied by posterior ~ leave-one-out * q(x_t | x0). A reverse step is exact with
either, but not by the same formula: `mean_posterior` is for the first, `joint_weighted` for the second.
"""

import torch
from torch import Tensor


def kept(alpha_t: float, alpha_s: float) -> float:
    """alpha_t / alpha_s, the probability that a token of time s has survived to t."""
    return alpha_t / alpha_s if alpha_s > 0 else 0.0


def likelihood(standing: Tensor, alpha: float | Tensor, words: Tensor) -> Tensor:
    """q(x_t = standing | x = v) for every v: [N, V], alpha [v = standing] + (1 - alpha) / K; alpha for all or [N]."""
    alpha = torch.as_tensor(alpha, dtype=torch.float64, device=standing.device).expand(standing.shape)[:, None]
    rows = ((1.0 - alpha) / int(words.sum())).repeat(1, len(words))
    return rows.scatter_add_(1, standing[:, None], alpha.clone())


def mean_posterior(p: Tensor, standing: Tensor, alpha_t: float, alpha_s: float, words: Tensor) -> Tensor:
    """p(x_s | x_t) = sum over x0 of p(x0 | x_t) q(x_s | x_t, x0), for the true posterior p(x0 | x_t).

    Args:
        p: [N, V] float64, each row sums to 1.
        standing: [N] int64, x_t.

    Source: the marginalised posterior of Austin et al. 2021 (D3PM, arXiv 2107.03006), section 3, by Bayes' rule.
    """
    return _weighted(p / likelihood(standing, alpha_t, words), standing, alpha_t, alpha_s, words)


def joint_weighted(p: Tensor, standing: Tensor, alpha_t: float, alpha_s: float, words: Tensor) -> Tensor:
    """p(x_s | x_t) ~ q(x_t | x_s) sum over x0 of q(x_s | x0) p(x0), for a leave-one-out belief p(x0).

    D3PM's parametrisation (arXiv 2107.03006, eq. 4), which multinomial diffusion (arXiv 2102.05379), UDLM
    (arXiv 2412.10193) and DUO (arXiv 2506.10892) share.
    """
    return _weighted(p, standing, alpha_t, alpha_s, words)


def _weighted(weights: Tensor, standing: Tensor, alpha_t: float, alpha_s: float, words: Tensor) -> Tensor:
    """~ q(x_t | x_s) sum over x0 of q(x_s | x0) weights(x0)."""
    noise = words.to(weights) / int(words.sum())
    at_s = alpha_s * weights + (1.0 - alpha_s) * weights.sum(-1, keepdim=True) * noise
    law = likelihood(standing, kept(alpha_t, alpha_s), words) * at_s
    return law / law.sum(-1, keepdim=True)


def posterior_from(leave_one_out: Tensor, standing: Tensor, alpha: float | Tensor, words: Tensor) -> Tensor:
    """p(x0 | x_t) [N, V] from the belief that has not seen the position's own token."""
    joint = leave_one_out * likelihood(standing, alpha, words)
    return joint / joint.sum(-1, keepdim=True)


def leave_one_out_from(posterior: Tensor, standing: Tensor, alpha: float | Tensor, words: Tensor) -> Tensor:
    """The belief that has not seen the position's own token, from p(x0 | x_t) [N, V]."""
    without = posterior / likelihood(standing, alpha, words)
    return without / without.sum(-1, keepdim=True)


def scores(p: Tensor, standing: Tensor, alpha: float, words: Tensor) -> Tensor:
    """s(y) = p_t(y) / p_t(x_t) [N, V], as an ideal score network would give them, from the posterior p(x0 | x_t).

    s(y) = sum over x0 of p(x0 | x_t) q(y | x0) / q(x_t | x0); 1 at y = x_t.
    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), the ratios of its section 3, by Bayes' rule.
    """
    weights = p / likelihood(standing, alpha, words)
    noise = words.to(p) / int(words.sum())
    return alpha * weights + (1.0 - alpha) * weights.sum(-1, keepdim=True) * noise


def analytic(score: Tensor, standing: Tensor, alpha_t: float, alpha_s: float, words: Tensor) -> Tensor:
    """The analytic (Tweedie) step: (e^-DQ s)(y) * e^DQ(x_t, y), with e^-D = alpha_t / alpha_s.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), eq. 19 and theorem 4.2. It is `mean_posterior` for the scores of
    p(x0 | x_t).
    """
    grow = alpha_s / alpha_t
    noise = words.to(score) / int(words.sum())
    earlier = grow * score - (grow - 1.0) * score.sum(-1, keepdim=True) * noise
    law = (earlier * likelihood(standing, 1.0 / grow, words)).clamp_min(0.0)
    return law / law.sum(-1, keepdim=True)


def rates(score: Tensor, standing: Tensor, sigma_rate: float, words: Tensor) -> Tensor:
    """Reverse rates out of x_t [N, V]: sigma'(t) / K * s(y), 0 at y = x_t.

    Source: Lou et al. 2024 (SEDD, arXiv 2310.16834), eq. 3, with the uniform rates divided by K as its code has them.
    """
    out = sigma_rate / int(words.sum()) * score * words.to(score)
    return out.scatter(1, standing[:, None], 0.0)


def euler(rate: Tensor, standing: Tensor, stride: float) -> Tensor:
    """delta + stride * rate: one Euler step; where that leaves more than 1, the rates are scaled down to 1."""
    jumps = stride * rate
    return _with_rest(jumps / jumps.sum(-1, keepdim=True).clamp_min(1.0), standing)


def tau_leap(rate: Tensor, standing: Tensor, stride: float) -> Tensor:
    """A leap in which exactly one jump happened: stride * rate * e^-(stride * total rate), else nothing.

    Source: Campbell et al. 2022 (tau-LDR, arXiv 2205.14987), with multiple jumps of a position rejected.
    """
    jumps = stride * rate
    return _with_rest(jumps * torch.exp(-jumps.sum(-1, keepdim=True)), standing)


def bound_rate(
    leave_one_out: Tensor,
    standing: Tensor,
    clean: Tensor,
    alpha: float | Tensor,
    slope: float | Tensor,
    words: Tensor,
) -> Tensor:
    """The continuous-time bound's integrand at t [N], nats a position and unit of time.

    KL of the true reverse step, which knows x0, from `joint_weighted`, over the length of the step as that goes to 0:
    with m(v) = K alpha x0(v) + 1 - alpha, the marginal times K, and m~ the same for the belief,

        -alpha' / (K alpha) * [sum over v of m(v) / m(x_t) (log (m(v) / m(x_t)) - log (m~(v) / m~(x_t)))
                               - K / m(x_t) + K / m~(x_t)].

    Args:
        leave_one_out: [N, V] float64, 0 outside `words`.
        standing, clean: [N] int64, x_t and x0.
        alpha, slope: alpha(t) in (0, 1) and its derivative, for all or [N].

    Source: Schiff et al. 2024 (UDLM, arXiv 2412.10193), the simplified bound, with the sign of the log ratios as
    Sahoo et al. 2025 (DUO, arXiv 2506.10892) write it.
    """
    count = int(words.sum())
    alpha, slope = (torch.as_tensor(x, dtype=torch.float64, device=clean.device) for x in (alpha, slope))
    belief = (count * alpha[..., None] * leave_one_out + 1.0 - alpha[..., None])[:, words]  # m~ [N, K]
    at = torch.cumsum(words, 0) - 1  # id -> its place among the words
    standing, clean = at[standing][:, None], at[clean][:, None]
    low, high = 1.0 - alpha, count * alpha + 1.0 - alpha
    here = torch.where(standing == clean, high[..., None], low[..., None])[:, 0]  # m(x_t) [N]
    log_belief = belief.log()
    log_here, log_clean = (log_belief.gather(1, index)[:, 0] for index in (standing, clean))
    # m takes only two values, so sums over v of m(v) log ... need one sum over the vocabulary
    entropy = (count - 1) * low * low.log() + high * high.log()
    cross = low * log_belief.sum(-1) + (high - low) * log_clean
    ratios = (entropy - cross - count * (here.log() - log_here)) / here
    return -slope / (count * alpha) * (ratios - count / here + count / log_here.exp())


def jump(rate: Tensor, standing: Tensor, stride: float) -> Tensor:
    """One jump, to a state drawn in proportion to its rate, with probability 1 - e^(-stride * total rate).

    Source: Gat et al. 2024 (discrete flow matching, arXiv 2407.15595), and its published solver.
    """
    total = rate.sum(-1, keepdim=True)
    return _with_rest(-torch.expm1(-stride * total) * rate / total.clamp_min(1e-300), standing)


def _with_rest(jumps: Tensor, standing: Tensor) -> Tensor:
    rest = (1.0 - jumps.sum(-1, keepdim=True)).clamp_min(0.0)
    return jumps.scatter_add(1, standing[:, None], rest)
