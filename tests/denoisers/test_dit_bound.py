"""Likelihood bounds of the DiT line against sums over every noised text, in the form in which they are published."""

import itertools
import math
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.dit_lm import DiTDenoiser
from ddemo.metrics import Bound, bound
from tests.denoisers import dit_checkpoints as tiny

NODES, WEIGHTS = (torch.tensor(0.5 * x) for x in numpy.polynomial.legendre.leggauss(16))
NODES = NODES + 0.5  # Gauss-Legendre on [0, 1]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("dit-bound")


def loaded(root: Path, name: str) -> DiTDenoiser:
    return load_checkpoint(str(tiny.write(name, root / name)), device="cpu").denoiser


def estimate(denoiser: DiTDenoiser, text: Tensor, count: int) -> Bound:
    """The bound of one text over and over, so that the standard error is that of the draws alone."""
    generator, words = torch.Generator().manual_seed(7), torch.arange(denoiser.vocab_size) < denoiser.states
    return bound(denoiser, [text] * count, [1] * count, times=8, rows=256, generator=generator, words=words)


def agrees(result: Bound, exact: float) -> None:
    """Nats a token; a false alarm comes once in 16,000 seeds, and the seed is fixed."""
    assert result.nats_per_token_stderr < 0.03 * exact
    assert abs(result.nats_per_token - exact) < 4 * result.nats_per_token_stderr


def asked(denoiser: DiTDenoiser, rows: Tensor, times: Tensor) -> Tensor:
    """Logits [B, L, V] float64 of rows [B, L] at times [B]."""
    lengths, wanted = torch.full((len(rows),), rows.shape[1]), torch.ones(rows.shape, dtype=torch.bool)
    return denoiser(rows, times[:, None].expand(rows.shape), lengths, wanted).unflatten(0, rows.shape).double()


def patterns(text: Tensor, mask_id: int) -> Tensor:
    """[2^n, n]: the text with every choice of masks."""
    masks = torch.tensor(list(itertools.product([False, True], repeat=len(text))))
    return text.masked_fill(masks, mask_id)


@pytest.mark.parametrize("name", ["mdlm", "mdlm-time"])
def test_the_masked_bound(root, name):
    """E_t (1/t) sum over masked of -log p(x0); m of n masks have probability t^m (1 - t)^(n - m)."""
    denoiser, text = loaded(root, name), torch.tensor([3, 17, 8])
    rows = patterns(text, denoiser.mask_id)
    masks = rows == denoiser.mask_id
    exact = 0.0
    for t, weight in zip(NODES, WEIGHTS, strict=True):
        log_p = asked(denoiser, rows, t.expand(len(rows)))[..., :-1].log_softmax(-1)
        nats = -(log_p.gather(2, text.expand(rows.shape)[..., None])[..., 0] * masks).sum(1)
        count = masks.sum(1)
        exact += float(weight * (t**count * (1 - t) ** (3 - count) * nats).sum() / t) / 3
    agrees(estimate(denoiser, text, 400), exact)


def test_the_score_entropy(root):
    """E_t sigma'(t) sum over masked of: sum of s(y) - k log s(x0) + k (log k - 1), with k = 1 / (e^sigma - 1).

    Lou et al. 2024 (arXiv 2310.16834), eq. 5 and the absorbing case of its code, on sigma = -log(1 - t).
    """
    denoiser, text = loaded(root, "sedd"), torch.tensor([3, 17, 8])
    rows = patterns(text, denoiser.mask_id)
    masks = rows == denoiser.mask_id
    exact = tighter = 0.0
    for t, weight in zip(NODES, WEIGHTS, strict=True):
        k, rate = (1 - t) / t, 1 / (1 - t)
        log_p = asked(denoiser, rows, t.expand(len(rows)))[..., :-1]
        score = log_p.exp() * k
        own = score.gather(2, text.expand(rows.shape)[..., None])[..., 0]
        entropy = rate * ((score.sum(-1) - k * own.log() + k * (k.log() - 1)) * masks).sum(1)
        count = masks.sum(1)
        chance = t**count * (1 - t) ** (3 - count)
        exact += float(weight * (chance * entropy).sum()) / 3
        normal = log_p.log_softmax(-1).gather(2, text.expand(rows.shape)[..., None])[..., 0]
        tighter += float(weight * (chance * -(normal * masks).sum(1)).sum() / t) / 3
    assert exact > tighter + 0.01  # random scores do not sum to what they should, and pay for it
    agrees(estimate(denoiser, text, 400), exact)


def test_the_bound_of_block_diffusion(root):
    """Block by block, with all earlier text clean; m of n masks weigh (m - 1)! (n - m)! / n!, as time is not told."""
    denoiser, text, n = loaded(root, "bd3lm"), torch.tensor([3, 17, 8, 0, 12, 12, 5, 20]), 4
    exact = 0.0
    for start in (0, n):
        for row in patterns(text[start : start + n], denoiser.mask_id)[1:]:
            masks, m = row == denoiser.mask_id, int((row == denoiser.mask_id).sum())
            canvas = torch.cat([text[:start], row])[None]
            log_p = asked(denoiser, canvas, torch.ones(1))[0, start:, :-1].log_softmax(-1)
            nats = -log_p[torch.arange(n), text[start : start + n]][masks].sum()
            exact += float(nats) * math.factorial(m - 1) * math.factorial(n - m) / math.factorial(n) / len(text)
    agrees(estimate(denoiser, text, 300), exact)


@pytest.mark.parametrize("name", ["udlm", "duo"])
def test_the_uniform_bound(root, name):
    """The published integrand over all x_t, in its plain form with a sum over the vocabulary.

    Schiff et al. 2024 (arXiv 2412.10193): with m = K alpha x0 + 1 - alpha and m~ = K alpha p + 1 - alpha,
    -1 / (K alpha) [sum over v of m(v) / m(x_t) log(m~(v) m(x_t) / (m~(x_t) m(v))) + K / m(x_t) - K / m~(x_t)].
    """
    denoiser, text = loaded(root, name), torch.tensor([3, 17])
    count = denoiser.states
    every = torch.cartesian_prod(torch.arange(count), torch.arange(count))
    exact = 0.0
    for t, weight in zip(NODES, WEIGHTS, strict=True):
        alpha = 1 - t
        p = asked(denoiser, every, t.expand(len(every)))[..., :count].softmax(-1)
        clean = torch.nn.functional.one_hot(text, count).double().expand(p.shape)
        chance = (alpha * (every == text) + t / count).prod(1)
        m, belief = (count * alpha * x + t for x in (clean, p))
        here, believed = (x.gather(2, every[..., None]) for x in (m, belief))
        logs = (m / here * (belief * here / (believed * m)).log()).sum(-1)
        rate = -1 / (count * alpha) * (logs + (count / here - count / believed)[..., 0])
        exact += float(weight * (chance * rate.sum(1)).sum()) / 2
    agrees(estimate(denoiser, text, 1500), exact)
