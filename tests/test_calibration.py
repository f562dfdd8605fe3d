"""Calibration where the truth is known: an exact world is right as often as it is sure, its bound is exact."""

import math

import pytest
import torch

from ddemo.calibration import BINS, Calibration, calibrate
from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.metrics import bound


def texts_of(denoiser, count: int) -> list[torch.Tensor]:
    """Draws of the world's own law."""
    joint = denoiser.world.joint
    cells = torch.multinomial(joint.flatten(), count, True, generator=torch.Generator().manual_seed(1))
    return [torch.tensor(torch.unravel_index(cell, joint.shape)) for cell in cells]


@pytest.fixture(scope="module", params=["exact-world", "exact-world-uniform"])
def measured(request):
    checkpoint = load_checkpoint(request.param, device="cpu")
    windows, words = texts_of(checkpoint.denoiser, 300), ~checkpoint.codec.never_drawn
    characters = [len(checkpoint.codec.decode(window.tolist())) for window in windows]
    found = list(calibrate(checkpoint.denoiser, windows, characters, 6, 0, words))
    return checkpoint, windows, characters, words, found


def test_one_that_is_never_wrong_is_calibrated(measured):
    """Every bin within 5 standard errors: by chance once in 100,000 seeds; the seed is fixed."""
    *_, found = measured
    for low, high in ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0)):
        reliability = found[-1].reliability(low, high)
        assert int((reliability.counts > 20).sum()) >= 3
        for count, sure, right in zip(*(x.tolist() for x in vars(reliability).values()), strict=True):
            if count > 20:
                assert abs(right - sure) < 5 * math.sqrt(max(sure * (1 - sure), 1e-4) / count)
    assert found[-1].reliability().error < 0.04


def test_overconfidence_shows(measured):
    """The same answers, were they twice as sure: the error grows."""
    calm = measured[-1][-1]
    sure = Calibration(calm.confidence.sqrt(), calm.correct, calm.times, calm.nats, calm.characters, calm.windows)
    assert sure.reliability().error > 3 * calm.reliability().error


def test_the_area_under_the_integrand_is_the_bound(measured):
    checkpoint, windows, characters, words, found = measured
    generator = torch.Generator().manual_seed(0)
    expected = bound(checkpoint.denoiser, windows, characters, 6, 6, generator, words=words)
    assert found[-1].bits_per_char == pytest.approx((expected.bits_per_char, expected.bits_per_char_stderr))
    area = sum(bits for bits, _ in found[-1].integrand) / 6
    assert area == pytest.approx(expected.bits_per_char)


def test_the_bound_of_an_exact_world_is_what_its_texts_need(measured):
    checkpoint, windows, characters, _, found = measured
    joint = checkpoint.denoiser.world.joint
    need = -sum(float(joint[tuple(window.tolist())].log2()) for window in windows) / sum(characters)
    bits, error = found[-1].bits_per_char
    assert abs(bits - need) < 5 * error


def test_it_grows_window_by_window_and_counts_what_noise_has_hit(measured):
    checkpoint, windows, _, _, found = measured
    assert [len(step.nats) for step in found] == list(range(1, 301)) and found[0].windows == 300
    last = found[-1]
    assert len(last.confidence) == len(last.correct) == len(last.times) == int(last.reliability().counts.sum())
    positions = sum(map(len, windows)) * 6
    share = len(last.confidence) / positions
    assert share == 1.0 if checkpoint.denoiser.process == "uniform" else 0.45 < share < 0.55
    assert torch.equal(found[10].confidence, last.confidence[: len(found[10].confidence)])
    parts = [last.reliability(low / 4, (low + 1) / 4).counts for low in range(4)]
    assert torch.equal(sum(parts), last.reliability().counts) and len(parts[0]) == BINS


def test_a_masked_model_and_what_is_refused(tiny, tiny_latent):
    windows = [torch.tensor(tiny.codec.encode("She took the letter, read it twice.")[0])]
    [found] = calibrate(tiny.denoiser, windows, [35], 4)
    assert (found.confidence > 0).all() and (found.confidence <= 1).all() and found.nats.shape == (1, 4)
    assert math.isnan(found.bits_per_char[1])  # one window tells nothing of its spread
    with pytest.raises(InputError, match="Gaussian noise on embeddings"):
        next(calibrate(tiny_latent.denoiser, windows, [35]))
    with pytest.raises(InputError, match="at least one window"):
        next(calibrate(tiny.denoiser, [], []))
    with pytest.raises(InputError, match="at least 1, not 0"):
        next(calibrate(tiny.denoiser, windows, [35], 0))
