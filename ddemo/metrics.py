"""How good a denoiser is, measured through the same interface that the page uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ddemo.errors import InputError
from ddemo.processes import gaussian, uniform

if TYPE_CHECKING:
    from ddemo.denoisers import Checkpoint, Denoiser, TextCodec

LEAST_TIME = 1e-4  # the uniform bound's integrand is a difference of near-equal numbers at the ends


@dataclass(frozen=True)
class Bound:
    """An upper bound on the negative log-likelihood of a text, with standard errors over its windows."""

    nats_per_token: float
    nats_per_token_stderr: float
    bits_per_char: float
    bits_per_char_stderr: float
    characters: int
    tokens: int
    windows: int

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class AnswerBound:
    """An upper bound on -log p(answer | prompt), as estimated.

    Attributes:
        nats: of the whole answer.
        stderr: of `nats`, from the groups of draws; NaN for a single group.
        tokens: in the answer.
        draws: how many noised answers were asked about.
    """

    nats: float
    stderr: float
    tokens: int
    draws: int


@torch.inference_mode()
def answer_bound(
    denoiser: Denoiser,
    prompt: Tensor,
    answer: Tensor,
    draws: int = 128,
    rows: int = 16,
    generator: torch.Generator | None = None,
) -> AnswerBound:
    """The bound of an answer after a prompt, with a fixed count of masks a draw, as LLaDA's authors estimate it:

        E_l [ (L/l) * sum over masked i of -log p(x0_i | prompt, x_l) ],   l uniform on 1..L

    where exactly l of the answer's L tokens are masked, whichever (Nie et al. 2025, "Large Language Diffusion
    Models", arXiv 2502.09992, appendix B.5). It is the bound of `bound` with the time integrated out, and varies less
    from draw to draw. The l of a group are spread evenly over 1..L from a common random start, as in the published
    code. The text is taken as it is given: a token that begins it belongs into the prompt.

    prompt, answer: [P] and [L] int64 of token ids, P may be 0. draws: how many in all, a multiple of rows.
    rows: how many make a group and go through the denoiser at once. generator: on the CPU; seed 0 if none is given.

    Raises InputError for no answer, a text that is too long, numbers out of range, or a denoiser that is not asked
    about masks anywhere at once: of other noise, in blocks, or of scores.
    """
    size, length = len(answer), len(prompt) + len(answer)
    if size < 1 or length > denoiser.max_length:
        raise InputError(f"prompt and answer must have 1 to {denoiser.max_length} tokens, one of them the answer's")
    if rows < 1 or draws < 1 or draws % rows:
        raise InputError(f"draws must be a multiple of rows and both at least 1, not {draws} and {rows}")
    unlike = hasattr(denoiser, "beside_clean") or getattr(denoiser, "unnormalised", False)
    if denoiser.process != "absorbing" or unlike:
        raise InputError(f"{denoiser.id} does not fill masks in any order: use the bound of its own kind")
    generator = generator or torch.Generator().manual_seed(0)
    clean = torch.cat([prompt, answer]).expand(rows, length)
    lengths = torch.full((rows,), length)
    groups = torch.zeros(draws // rows, dtype=torch.float64)
    for group in range(len(groups)):
        start = torch.rand((), generator=generator, dtype=torch.float64)
        counts = ((start + torch.arange(rows, dtype=torch.float64) / rows) % 1.0 * size).long() + 1  # [rows], 1..L
        rank = torch.rand(rows, size, generator=generator).argsort(1).argsort(1)
        masks = torch.zeros(rows, length, dtype=torch.bool)
        masks[:, len(prompt) :] = rank < counts[:, None]
        nats = _masked_nats(denoiser, clean, counts / size, lengths, masks)
        groups[group] = (nats * size / counts).mean()
    stderr = (groups.std() / len(groups) ** 0.5).item() if len(groups) > 1 else math.nan
    return AnswerBound(groups.mean().item(), stderr, size, draws)


@torch.inference_mode()
def bound(
    denoiser: Denoiser,
    windows: Sequence[Tensor],
    characters: Sequence[int],
    times: int = 16,
    rows: int = 32,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
    words: Tensor | None = None,
) -> Bound:
    """The diffusion bound of windows of text, each taken on its own.

    With the linear schedule, alpha(t) = 1 - t, a window's bound is

        E_t [ (1/t) * sum over masked i of -log p(x0_i | x_t) ],   t uniform on (0, 1]

    (Sahoo et al. 2024, "Simple and Effective Masked Diffusion Language Models", arXiv 2406.07524, eq. 10 and 11),
    here estimated from `times` stratified draws a window: t_k = (k + u) / times with one u for the window. For block
    diffusion (a denoiser with `beside_clean`) p is also given the clean text of earlier blocks (Arriola et al. 2025,
    arXiv 2503.09573, eq. 8). For a denoiser of scores (`unnormalised`) -log p is the published score entropy,
    Z - 1 - log w(x0_i) for weights w = (e^sigma - 1) * score that sum to Z (Lou et al. 2024, arXiv 2310.16834, eq. 5;
    normalised, they would give no more, as log Z <= Z - 1). Under
    uniform noise it is the integral over t of `ddemo.processes.uniform.bound_rate`, estimated in the same way. Under
    Gaussian noise on embeddings it has three parts: what is left of the text at t = 1, the integral over alpha of
    `ddemo.processes.gaussian.bound_rate`, from `times` stratified draws of alpha, and what is left to decide at t = 0
    (Kingma et al. 2021, "Variational Diffusion Models", arXiv 2107.00630, eq. 11 and 17), drawn once a window.

    windows: n tensors [L_i] int64 of token ids. characters: how many characters each of them stands for.
    rows: how many noised windows go through the denoiser at once. generator: on the CPU; seed 0 if none is given.
    words: [V] bool, what uniform noise consists of. progress(done, total) is called in windows.

    The standard errors are those of a ratio of sums over windows, taken as independent; they hold the noise of the
    draws too. Raises InputError for no windows or numbers out of range.
    """
    if not windows or len(windows) != len(characters):
        raise InputError(f"need as many character counts as windows and at least one ({len(windows)} windows)")
    if min(len(w) for w in windows) < 1 or max(len(w) for w in windows) > denoiser.max_length:
        raise InputError(f"windows must have 1 to {denoiser.max_length} tokens")
    if times < 1 or rows < 1:
        raise InputError(f"times and rows must be at least 1, not {times} and {rows}")
    generator = generator or torch.Generator().manual_seed(0)
    if denoiser.process == "gaussian":
        measured = partial(_latent_nats, denoiser)
    else:
        measured = partial(_window_nats, denoiser, words=words)
    nats = torch.zeros(len(windows), dtype=torch.float64)
    together = max(1, rows // times)  # windows whose draws share a batch
    for first in range(0, len(windows), together):
        group = windows[first : first + together]
        nats[first : first + len(group)] = measured(group, times, rows, generator)
        if progress:
            progress(first + len(group), len(windows))
    tokens = torch.tensor([len(w) for w in windows], dtype=torch.float64)
    letters = torch.tensor(characters, dtype=torch.float64)
    per_token, per_token_stderr = ratio(nats, tokens)
    per_char, per_char_stderr = ratio(nats / math.log(2), letters)
    return Bound(
        nats_per_token=per_token,
        nats_per_token_stderr=per_token_stderr,
        bits_per_char=per_char,
        bits_per_char_stderr=per_char_stderr,
        characters=int(letters.sum()),
        tokens=int(tokens.sum()),
        windows=len(windows),
    )


def _window_nats(
    denoiser: Denoiser,
    group: Sequence[Tensor],
    times: int,
    rows: int,
    generator: torch.Generator,
    words: Tensor | None,
) -> Tensor:
    """The estimate [len(group)] of each window's bound in nats, under absorbing or uniform noise."""
    drawn = draw_noise(denoiser.process, group, times, generator, words)
    answers = [answer_to(denoiser, drawn.rows(part), words) for part in torch.arange(len(drawn.t)).split(rows)]
    return torch.cat([answer.nats for answer in answers]).view(len(group), times).mean(1)


@dataclass(frozen=True)
class Noised:
    """Windows of text with noise in them, a row for each draw.

    Attributes:
        clean, tokens: [B, L] int64, x_0 and x_t, padded on the right.
        hit: [B, L] bool, what noise has hit.
        lengths: [B] int64.
        t: [B] float32 in (0, 1], on the linear schedule.
    """

    clean: Tensor
    tokens: Tensor
    hit: Tensor
    lengths: Tensor
    t: Tensor

    def rows(self, part: Tensor) -> Noised:
        return Noised(*(getattr(self, field.name)[part] for field in fields(self)))


@dataclass(frozen=True)
class Answer:
    """What a denoiser says to B noised rows.

    Attributes:
        nats: [B] float64, the bound's integrand at each row's t.
        asked: [B, L] bool with N true: masks, or under uniform noise every token.
        logits: gives [N, V] logits of p(x_0 | x_t), which the bound does not need.
    """

    nats: Tensor
    asked: Tensor
    logits: Callable[[], Tensor]

    def surest(self) -> tuple[Tensor, Tensor]:
        """The likeliest x_0 [N] int64 of each position that was asked about, and p(x_0 | x_t) of it [N] float64."""
        logits = self.logits()
        best = logits.max(-1)
        confidence = (best.values.double() - logits.double().logsumexp(-1)).exp()
        return best.indices.cpu(), confidence.cpu()


def draw_noise(
    process: str, windows: Sequence[Tensor], times: int, generator: torch.Generator, words: Tensor | None = None
) -> Noised:
    """`times` stratified draws of each window, one after the other: t_k = (k + u) / times with one u for a window.

    windows: n tensors [L_i] int64. words: [V] bool, what uniform noise consists of.
    """
    lengths = torch.tensor([len(w) for w in windows]).repeat_interleave(times)  # [n * times]
    clean = pad_sequence(list(windows), batch_first=True).repeat_interleave(times, 0)  # [n * times, L]
    hit = torch.zeros(clean.shape, dtype=torch.bool)
    drawn = clean.clone()
    t = torch.empty(len(clean))
    for i, window in enumerate(windows):  # window by window, so that batching does not change what is drawn
        own = slice(i * times, (i + 1) * times)
        u = 1 - torch.rand((), generator=generator)  # in (0, 1]
        t[own] = (torch.arange(times) + u) / times
        hit[own, : len(window)] = torch.rand(times, len(window), generator=generator) < t[own, None]
        if process == "uniform":
            ids = words.nonzero().squeeze(-1)
            drawn[own, : len(window)] = ids[torch.randint(len(ids), (times, len(window)), generator=generator)]
    return Noised(clean, torch.where(hit, drawn, clean), hit, lengths, t)


@torch.inference_mode()
def answer_to(denoiser: Denoiser, noised: Noised, words: Tensor | None = None) -> Answer:
    """One call of a denoiser for absorbing or uniform noise; masks are put in here. `words` as for `draw_noise`."""
    if denoiser.process == "uniform":
        return _answer_to_words(denoiser, noised, words)
    logits = _masked_logits(denoiser, noised.clean, noised.t, noised.lengths, noised.hit)
    nats = _surprise(denoiser, logits, noised.clean, noised.hit) / noised.t
    return Answer(nats, noised.hit, lambda: logits)


def _latent_nats(
    denoiser: Denoiser, group: Sequence[Tensor], times: int, rows: int, generator: torch.Generator
) -> Tensor:
    """The estimate [len(group)] of each window's bound in nats, under Gaussian noise on embeddings."""
    embeddings = denoiser.embeddings.double()
    top, draws = gaussian.alpha_bar(0.0), times + 1  # the last of a window's draws is at t = 0
    lengths = torch.tensor([len(w) for w in group]).repeat_interleave(draws)  # [n * draws]
    clean = pad_sequence(list(group), batch_first=True).repeat_interleave(draws, 0)  # [n * draws, L]
    noise = torch.zeros(*clean.shape, embeddings.shape[1])
    alpha = torch.full((len(clean),), top, dtype=torch.float64)
    for i, window in enumerate(group):
        own = slice(i * draws, (i + 1) * draws)
        u = 1 - torch.rand((), generator=generator, dtype=torch.float64)
        alpha[own][:times] = top * (torch.arange(times) + u) / times
        noise[own, : len(window)] = torch.randn(draws, len(window), embeddings.shape[1], generator=generator)
    at_end = torch.arange(len(clean)) % draws == times
    total = torch.zeros(len(clean), dtype=torch.float64)
    for part in torch.arange(len(clean)).split(rows):
        inside = torch.arange(clean.shape[1]) < lengths[part, None]
        owner = inside.nonzero()[:, 0]
        points = embeddings[clean[part].to(embeddings.device)]
        latents = gaussian.noised(points, alpha[part, None, None].to(points), noise[part].to(points))
        log_p = _asked(denoiser, latents.cpu(), gaussian.time_at(alpha[part]), lengths[part], inside)
        log_p = log_p.double().log_softmax(-1)
        left = F.nll_loss(log_p, clean[part][inside].to(log_p.device), reduction="none").cpu()
        places = alpha[part][owner].to(points)
        estimate = gaussian.expected(log_p.exp(), embeddings)
        rate = gaussian.bound_rate(points[inside.to(points.device)], estimate, places).cpu()
        total[part] = total[part].index_add(0, owner, torch.where(at_end[part][owner], left, top / times * rate))
    end = gaussian.alpha_bar(1.0)
    left_at_1 = torch.stack([gaussian.prior_nats(embeddings[w.to(embeddings.device)], end).sum() for w in group])
    return total.view(len(group), draws).sum(1) + left_at_1.cpu()


def _masked_nats(denoiser: Denoiser, clean: Tensor, t: Tensor, lengths: Tensor, masks: Tensor) -> Tensor:
    """-log p(x0 | x_t) summed over the masked positions of each row: [B] float64."""
    return _surprise(denoiser, _masked_logits(denoiser, clean, t, lengths, masks), clean, masks)


def _masked_logits(denoiser: Denoiser, clean: Tensor, t: Tensor, lengths: Tensor, masks: Tensor) -> Tensor:
    """[N, V] at the masks; that of the mask itself is -inf, for it is never drawn and takes no part of p."""
    if not bool(masks.any()):
        return torch.zeros(0, denoiser.vocab_size)
    noised = clean.masked_fill(masks, denoiser.mask_id)
    if hasattr(denoiser, "beside_clean"):
        logits = denoiser.beside_clean(noised, clean, _everywhere(t, masks), lengths, masks).float()
    else:
        logits = _asked(denoiser, noised, t, lengths, masks)
    return logits.index_fill(1, torch.tensor(denoiser.mask_id, device=logits.device), -math.inf)


def _surprise(denoiser: Denoiser, logits: Tensor, clean: Tensor, masks: Tensor) -> Tensor:
    """-log p(x0 | x_t) by logits [N, V] at the masks, summed over those of each row: [B] float64."""
    nats = F.cross_entropy(logits, clean[masks].to(logits.device), reduction="none").double()
    if getattr(denoiser, "unnormalised", False):
        log_z = logits.double().logsumexp(-1)
        nats = nats + log_z.exp() - 1.0 - log_z
    sums = torch.zeros(len(clean), dtype=torch.float64)
    return sums.index_add_(0, masks.nonzero()[:, 0], nats.cpu())


def _answer_to_words(denoiser: Denoiser, noised: Noised, words: Tensor) -> Answer:
    """The same under uniform noise, where every position is asked about and the belief has two forms."""
    clean, t = noised.clean, noised.t
    inside = torch.arange(clean.shape[1]) < noised.lengths[:, None]
    logits = _asked(denoiser, noised.tokens, t, noised.lengths, inside)
    words = words.to(logits.device)
    belief = logits.masked_fill(~words, -math.inf).double().softmax(-1)
    alpha = 1.0 - t.double().clamp(LEAST_TIME, 1 - LEAST_TIME)[:, None].expand(clean.shape)[inside].to(logits.device)
    standing = noised.tokens[inside].to(logits.device)
    seen = denoiser.predicts == "posterior"
    without = uniform.leave_one_out_from(belief, standing, alpha, words) if seen else belief

    def logits_of_posterior() -> Tensor:
        return (belief if seen else uniform.posterior_from(belief, standing, alpha, words)).log()

    nats = uniform.bound_rate(without, standing, clean[inside].to(logits.device), alpha, -1.0, words)
    sums = torch.zeros(len(clean), dtype=torch.float64).index_add_(0, inside.nonzero()[:, 0], nats.cpu())
    return Answer(sums, inside, logits_of_posterior)


def _asked(denoiser: Denoiser, tokens: Tensor, t: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
    """Logits [N, V] of a row's tokens, or latents, at one time."""
    return denoiser(tokens, _everywhere(t, wanted), lengths, wanted).float()


def _everywhere(t: Tensor, wanted: Tensor) -> Tensor:
    return t.float()[:, None].expand(wanted.shape)


def ratio(values: Tensor, sizes: Tensor) -> tuple[float, float]:
    """sum(values) / sum(sizes) and its standard error by the linearised residuals; NaN for a single window."""
    quotient = values.sum() / sizes.sum()
    n = len(values)
    if n < 2:
        return quotient.item(), math.nan
    residuals = values - quotient * sizes
    return quotient.item(), (residuals.square().sum() * n / (n - 1)).sqrt().div(sizes.sum()).item()


def text_windows(
    codec: TextCodec, texts: Iterable[str], window: int, limit: int | None = None
) -> tuple[list[Tensor], list[int]]:
    """Cuts texts into windows of `window` tokens, the last of each text being shorter, and counts their characters.

    limit: about how many characters to keep; the windows kept are spread evenly over all texts.
    Raises InputError for a window or limit below 1, or no text.
    """
    if window < 1:
        raise InputError(f"window must be at least 1 token, not {window}")
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 character, not {limit}")
    windows, characters = [], []
    for text in texts:
        ids, slices = codec.encode(text)
        for first in range(0, len(ids), window):
            windows.append(torch.tensor(ids[first : first + window]))
            characters.append(sum(map(len, slices[first : first + window])))
    if not windows:
        raise InputError("there is no text to measure")
    total = sum(characters)
    if limit is not None and limit < total:
        count = max(1, round(len(windows) * limit / total))
        keep = [i * len(windows) // count for i in range(count)]
        windows, characters = [windows[i] for i in keep], [characters[i] for i in keep]
    return windows, characters


def evaluate(
    checkpoint: Checkpoint,
    texts: Iterable[str],
    window: int = 128,
    limit: int | None = None,
    times: int = 16,
    rows: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Bound:
    """The bound of a checkpoint on texts: see `bound`, `text_windows`, and `read_documents` for a file's split.

    Raises InputError when the window is more than the checkpoint takes, or a number is out of range.
    """
    longest = checkpoint.denoiser.max_length
    if window > longest:
        raise InputError(f"window must be at most {longest} tokens for {checkpoint.id}, not {window}")
    windows, characters = text_windows(checkpoint.codec, texts, window, limit)
    generator = torch.Generator().manual_seed(seed)
    words = ~checkpoint.codec.never_drawn
    return bound(checkpoint.denoiser, windows, characters, times, rows, generator, progress, words)
