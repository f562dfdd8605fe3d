"""Discrete schedules: the published betas, conversions both ways, and the schedule that mutual information sets."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import LINEAR, betas, rates, transitions
from ddemo.processes.curves import CURVES
from ddemo.processes.information import mutual_information
from tests.processes.dense import random_laws

EXACTLY = {"rtol": 0, "atol": 1e-12}
SOME = st.lists(st.floats(0.0, 0.999), min_size=1, max_size=12).map(lambda x: torch.tensor(x, dtype=torch.float64))


def test_d3pms_linear_betas_are_even_steps():
    assert betas.d3pm_linear(3, 0.1, 0.3).tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-15)
    table = betas.d3pm_linear(1000)
    assert (len(table), table[0], table[-1]) == (1000, 1e-4, pytest.approx(0.02, rel=1e-15))
    assert float(betas.alphas_of(table)[-1]) == pytest.approx(4.0358e-5, rel=1e-4)


def test_d3pms_cosine_betas_give_its_cosine():
    alphas = betas.alphas_of(betas.d3pm_cosine(50))
    for k in range(50):
        f = math.cos((k / 50 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
        assert float(alphas[k]) == pytest.approx(f, rel=1e-12)
    assert float(betas.d3pm_cosine(50)[-1]) == 0.999


def test_d3pms_absorbing_betas_give_the_linear_schedule_exactly():
    kept, steps = Fraction(1), 40
    for k, beta in enumerate(betas.d3pm_absorbing(steps).tolist(), 1):
        kept *= 1 - Fraction(1, steps - k + 1)
        assert kept == 1 - Fraction(k, steps) and beta == 1 / (steps - k + 1)
    torch.testing.assert_close(betas.of_schedule(LINEAR, steps), betas.d3pm_absorbing(steps), rtol=1e-12, atol=0)


@given(SOME)
@settings(max_examples=60, deadline=None)
def test_alphas_sigmas_and_betas_are_one_thing(values):
    alphas = betas.alphas_of(values)
    torch.testing.assert_close(betas.betas_of(alphas), values, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.exp(-betas.sigmas_of(values)), alphas, rtol=1e-12, atol=0)
    torch.testing.assert_close(betas.noised_of(values), 1.0 - alphas, **EXACTLY)


def test_small_betas_keep_their_digits():
    noised = betas.noised_of(torch.full((3,), 1e-18, dtype=torch.float64))
    torch.testing.assert_close(
        noised, torch.tensor([0.0, 1e-18, 2e-18, 3e-18], dtype=torch.float64), rtol=1e-15, atol=0
    )
    assert betas.sigmas_of(torch.tensor([1.0]))[-1] == math.inf and betas.noised_of(torch.tensor([1.0]))[-1] == 1.0
    assert betas.betas_of(torch.tensor([1.0, 0.0, 0.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_cut_into_steps_passes_through_its_own_points(name):
    alphas = betas.alphas_of(betas.of_schedule(CURVES[name], 20))
    expected = torch.tensor([1.0, *(CURVES[name].alpha(k / 20) for k in range(1, 21))], dtype=torch.float64)
    torch.testing.assert_close(alphas, expected, rtol=1e-9, atol=1e-14)


def test_the_weights_of_the_steps_tend_to_the_hazard():
    """T times (alpha_(k-1) - alpha_k) / (1 - alpha_k); for the linear schedule the weight is 1 / k."""
    weights = betas.loss_weights(betas.d3pm_absorbing(30))
    torch.testing.assert_close(weights, 1.0 / torch.arange(1, 31, dtype=torch.float64), rtol=1e-12, atol=0)
    for name in ("cosine", "quadratic", "md4-cosine"):
        weights = betas.loss_weights(betas.of_schedule(CURVES[name], 4000))
        assert 4000 * float(weights[1999]) == pytest.approx(CURVES[name].hazard(0.5), rel=2e-3)


# Mutual information


def test_for_masks_information_falls_evenly_on_the_linear_schedule():
    """D3PM's claim for its 1 / (T - t + 1), found by bisection that knows nothing of it."""
    words = random_laws(4, 5)[3]
    initial = torch.cat([words, torch.zeros(1, dtype=torch.float64)])
    sigmas = betas.of_mutual_information(initial, lambda s: transitions.absorbing(-math.expm1(-s), 6), 8)
    torch.testing.assert_close(torch.exp(-sigmas), 1 - torch.arange(9, dtype=torch.float64) / 8, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["uniform", "neighbours"])
def test_for_other_noise_each_step_forgets_the_same_share(kind):
    initial = random_laws(4, 5)[3]
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rate = rates.uniform_rates(5) if kind == "uniform" else rates.neighbour_rates(points, 2)
    sigmas = betas.of_mutual_information(initial, lambda s: rates.exponential(rate, s), 5)
    left = [mutual_information(initial, rates.exponential(rate, s)) for s in sigmas[:-1].tolist()]
    for k, value in enumerate(left):
        assert value == pytest.approx((1 - k / 5) * left[0], rel=1e-9)
    assert (sigmas.diff() > 0).all() and sigmas[-1] == math.inf
    # and it is not the linear schedule
    assert abs(math.exp(-float(sigmas[2])) - 0.6) > 0.01


def test_noise_that_never_forgets_and_a_certain_start_are_refused():
    with pytest.raises(ValueError, match="transition must forget"):
        betas.of_mutual_information(torch.tensor([0.5, 0.5]), lambda s: torch.eye(2, dtype=torch.float64), 4)
    with pytest.raises(ValueError, match="initial must leave something"):
        betas.of_mutual_information(torch.tensor([1.0, 0.0]), lambda s: transitions.uniform(0.5, 2), 4)


@pytest.mark.parametrize("bad", [[-0.1], [1.1], [math.nan], []])
def test_betas_that_are_no_probabilities_are_refused(bad):
    for ask in (betas.alphas_of, betas.noised_of, betas.sigmas_of, betas.loss_weights):
        with pytest.raises(ValueError, match="betas must be"):
            ask(torch.tensor(bad, dtype=torch.float64))


def test_other_bad_input():
    with pytest.raises(ValueError, match="never rise, and do after step 1"):
        betas.betas_of(torch.tensor([1.0, 0.5, 0.6]))
    for alphas in ([0.9, 0.5], [1.0], [1.0, -0.1], [1.0, math.nan]):
        with pytest.raises(ValueError, match="alphas must"):
            betas.betas_of(torch.tensor(alphas))
    with pytest.raises(ValueError, match="begin above 0"):
        betas.loss_weights(torch.tensor([0.0, 0.5]))
    for ask in (betas.d3pm_linear, betas.d3pm_cosine, betas.d3pm_absorbing):
        with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
            ask(0)
    with pytest.raises(ValueError, match="betas must be"):
        betas.d3pm_linear(10, -0.1, 0.3)
