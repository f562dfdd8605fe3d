"""The objectives: noise a batch, ask for what was there.

Linear schedule: a token survives to time t with probability alpha(t) = 1 - t. The bound on -log p(x) is then

    E_t [ (1/t) * sum over masked i of -log p(x0_i | x_t) ],   t uniform on (0, 1]

(Sahoo et al. 2024, "Simple and Effective Masked Diffusion Language Models", arXiv 2406.07524, eq. 10 and 11).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ddemo.processes import gaussian, uniform

LOSSES = ("ce", "bound")


def stratified_times(count: int, generator: torch.Generator) -> Tensor:
    """Times [count] in (0, 1]: one in each of count equal slices, t_i = (i + u_i) / count, u_i in (0, 1]."""
    u = 1 - torch.rand(count, generator=generator)  # rand is in [0, 1), and t = 0 has no masks
    return (torch.arange(count) + u) / count


def draw_masks(times: Tensor, length: int, generator: torch.Generator, at_least_one: bool) -> Tensor:
    """Masks [B, length] bool, each position of row b independently with probability times[b].

    at_least_one: a row that came out with none gets the mask that was nearest to happening.
    """
    u = torch.rand(len(times), length, generator=generator)
    masks = u < times[:, None]
    if at_least_one:
        masks[torch.arange(len(times)), u.argmin(1)] = True
    return masks


def noise_uniformly(
    tokens: Tensor, times: Tensor, words: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """x_t of uniform noise [B, L], and where noise fell [B, L] bool (the same word may have come again).

    Args:
        tokens: [B, L] int64.
        times: [B, L], the noised share of each position.
        words: [V] bool, what noise may consist of.
    """
    fell = torch.rand(tokens.shape, generator=generator) < times
    ids = words.nonzero().squeeze(-1)
    drawn = ids[torch.randint(len(ids), tokens.shape, generator=generator)]
    return torch.where(fell.to(tokens.device), drawn.to(tokens.device), tokens), fell


def uniform_loss(
    logits_at: Callable[[Tensor, Tensor, Tensor], Tensor],
    tokens: Tensor,
    words: Tensor,
    loss: str,
    generator: torch.Generator,
    kept_share: float = 0.25,
    known_rows: bool = True,
) -> tuple[Tensor, int]:
    """The loss of one batch tokens [B, L] under uniform noise, in nats a token, and how many positions were read.

    The network gives the belief that has not seen the position's own token; times q(x_t | x0), whose only effect is
    log(1 + K alpha / (1 - alpha)) more for the token that stands there, it is the posterior p(x0 | x_t).

    With `known_rows` some have parts that are known to be clean, as a prompt is: no loss is read there, and their
    time is 0.

    logits_at(noised tokens [B, L], wanted [B, L], times [B, L]) -> logits [N, V].
    loss: `ce` is the mean of -log p(x0 | x_t) over all positions, of which those that noise spared, easy and many,
    are read with probability `kept_share` and weighed accordingly; `bound` is an unbiased estimate of the bound
    (`ddemo.processes.uniform.bound_rate`) at all positions.
    """
    times = stratified_times(len(tokens), generator).clamp(min=1e-3)
    known = draw_known(*tokens.shape, generator) if known_rows else torch.zeros(tokens.shape, dtype=torch.bool)
    noise = times[:, None].masked_fill(known, 0.0)  # [B, L]
    noised, fell = noise_uniformly(tokens, noise, words, generator)
    read = ~known & (fell | (torch.rand(tokens.shape, generator=generator) < (kept_share if loss == "ce" else 1.0)))
    wanted, words = read.to(tokens.device), words.to(tokens.device)
    logits = logits_at(noised, wanted, noise.to(tokens.device)).float().masked_fill(~words, -torch.inf)
    standing, clean, t = noised[wanted], tokens[wanted], noise[read].to(tokens.device)  # [N]
    if loss == "bound":
        rate = uniform.bound_rate(logits.double().softmax(-1), standing, clean, 1 - t, -1.0, words)
        return rate.sum() / (~known).sum(), len(rate)
    bonus = torch.log1p(int(words.sum()) * (1 - t) / t)
    nats = F.cross_entropy(logits.scatter_add(1, standing[:, None], bonus[:, None]), clean, reduction="none")
    weights = torch.where(fell[read], 1.0, 1.0 / kept_share).to(tokens.device)
    return (weights * nats).sum() / (~known).sum(), len(nats)


def latent_loss(
    logits_at: Callable[[Tensor, Tensor, Tensor], Tensor],
    tokens: Tensor,
    embeddings: Tensor,
    loss: str,
    generator: torch.Generator,
    known_rows: bool = True,
) -> tuple[Tensor, int]:
    """The loss of one batch tokens [B, L] under Gaussian noise on embeddings [V, D], in nats a token, and how many
    positions were read.

    With `known_rows` some have parts that are known, as a prompt is: they hold their embedding, their time is 0, and
    no loss is read there.

    logits_at(latents [B, L, D], wanted [B, L], times [B, L]) -> logits [N, V] of p(x0 | x_t).
    loss: `ce` is the mean of -log p(x0 | x_t), with t uniform; the p that is best by it is best by the bound, too
    (`gaussian.expected`), and learns without the bound's large weights. `bound` is an unbiased estimate of the
    bound: its integral by alpha drawn uniformly, and what is left to decide at t = 0 by one row more.
    """
    slices = stratified_times(len(tokens), generator)
    known = draw_known(*tokens.shape, generator) if known_rows else torch.zeros(tokens.shape, dtype=torch.bool)
    if loss == "ce":
        times = slices
    else:
        top = gaussian.alpha_bar(0.0)
        times = torch.cat([gaussian.time_at(top * slices), torch.zeros(1)])
        tokens, known = torch.cat([tokens, tokens[:1]]), torch.cat([known, known[:1]])
    times = times[:, None].masked_fill(known, 0.0)  # [B, L]
    noise = torch.randn(*tokens.shape, embeddings.shape[1], generator=generator).to(tokens.device)
    times, known = times.to(tokens.device), known.to(tokens.device)
    alpha = gaussian.alpha_bar(times)
    clean = embeddings[tokens]
    latents = torch.where(known[..., None], clean, gaussian.noised(clean, alpha[..., None], noise))
    read = ~known
    logits = logits_at(latents, read, times).float()
    if loss == "ce":
        return F.cross_entropy(logits, tokens[read]), len(logits)
    last = torch.zeros_like(known)
    last[-1] = True
    last = last[read]
    left = F.cross_entropy(logits[last], tokens[read][last])
    with torch.autocast(tokens.device.type, enabled=False):  # near alpha_bar(0) small errors weigh much
        estimate = gaussian.expected(logits.softmax(-1), embeddings)
    rate = gaussian.bound_rate(clean[read], estimate, alpha[read])[~last]
    return left + top * rate.mean(), len(logits)


def draw_known(rows: int, length: int, generator: torch.Generator) -> Tensor:
    """[rows, length] bool: what a visitor would have fixed. Half of the rows have none, a quarter know a beginning,
    a quarter know all but a stretch; no row is known whole.
    """
    kind = torch.rand(rows, 1, generator=generator)
    first, last = (torch.rand(2, rows, 1, generator=generator) * length).long().sort(0).values
    place = torch.arange(length)
    stretch = (place >= first) & (place <= last)
    return torch.where(kind < 0.5, False, torch.where(kind < 0.75, place < first, ~stretch))


def absorbing_loss(
    logits_at: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, mask_id: int, loss: str, generator: torch.Generator
) -> tuple[Tensor, int]:
    """The loss of one batch tokens [B, L], in nats a token, and how many positions were masked.

    logits_at(noised tokens [B, L], wanted [B, L]) -> logits [N, V]. Random draws are made on the generator's device.
    loss: `bound` is an unbiased estimate of the bound above. `ce` is the plain mean over masked positions, which
    weighs a window by how much of it is masked; it trains faster, and every window then keeps at least one mask.
    """
    rows, length = tokens.shape
    times = stratified_times(rows, generator)
    masks = draw_masks(times, length, generator, at_least_one=loss == "ce")
    counts = masks.sum(1)
    weights = (1 / times).repeat_interleave(counts).to(tokens.device)  # [N]
    masks = masks.to(tokens.device)
    nats = F.cross_entropy(
        logits_at(tokens.masked_fill(masks, mask_id), masks).float(), tokens[masks], reduction="none"
    )
    if loss == "ce":
        return nats.mean(), len(nats)
    return (weights * nats).sum() / tokens.numel(), len(nats)
