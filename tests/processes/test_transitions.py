"""Transition matrices against their published formulas, entry by entry, and closed forms against multiplication."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import rates, transitions
from ddemo.processes.betas import noised_of
from ddemo.processes.chains import products
from tests.processes import dense

EXACTLY = {"rtol": 0, "atol": 1e-13}
K = 5
POINTS = torch.randn(K, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SOME = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8).map(lambda x: torch.tensor(x, dtype=torch.float64))
KINDS = {
    "absorbing": lambda noise: transitions.absorbing(noise, K),
    "uniform": lambda noise: transitions.uniform(noise, K),
    "hybrid": lambda noise: transitions.hybrid(0.3 * noise, 0.7 * noise, K),
    "gaussian": lambda noise: transitions.gaussian(noise, K),
    "nearest neighbour": lambda noise: transitions.nearest_neighbour(noise, POINTS, 2),
}


@pytest.mark.parametrize("kind", KINDS)
@given(st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_every_row_is_a_law_and_no_noise_is_the_identity(kind, noise):
    matrix = KINDS[kind](noise)
    assert matrix.shape == (K, K) and (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(-1), torch.ones(K, dtype=torch.float64), **EXACTLY)
    torch.testing.assert_close(KINDS[kind](0.0), torch.eye(K, dtype=torch.float64), **EXACTLY)


@pytest.mark.parametrize("noise", [0.0, 1e-12, 0.37, 1.0])
def test_absorbing_and_uniform_entry_by_entry(noise):
    torch.testing.assert_close(transitions.absorbing(noise, K), dense.absorbing_matrix(1 - noise, K), **EXACTLY)
    torch.testing.assert_close(transitions.uniform(noise, K), dense.uniform_matrix(1 - noise, K), **EXACTLY)
    first = transitions.absorbing(noise, K, mask=0)
    torch.testing.assert_close(first, dense.absorbing_matrix(1 - noise, K).flip(0, 1), **EXACTLY)


def test_hybrid_entry_by_entry():
    """Two words and the mask in the middle: stay 1 - m - u, redrawn u / 2 each, masked m."""
    m, u = Fraction(1, 10), Fraction(3, 10)
    stay, other = 1 - m - u + u / 2, u / 2
    rows = [[stay, m, other], [0, 1, 0], [other, m, stay]]
    expected = torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)
    torch.testing.assert_close(transitions.hybrid(float(m), float(u), 3, mask=1), expected, **EXACTLY)


@pytest.mark.parametrize("beta", [1e-4, 0.02, 0.5, 3.0])
def test_the_discretised_gaussian_entry_by_entry(beta):
    """D3PM's eq. 8 written out."""
    matrix = transitions.gaussian(beta, K)
    total = sum(math.exp(-4 * n * n / ((K - 1) ** 2 * beta)) for n in range(-K + 1, K))
    for i in range(K):
        others = {j: math.exp(-4 * (i - j) ** 2 / ((K - 1) ** 2 * beta)) / total for j in range(K) if j != i}
        for j, value in others.items():
            assert float(matrix[i, j]) == pytest.approx(value, rel=1e-12, abs=1e-300)
        assert float(matrix[i, i]) == pytest.approx(1 - sum(others.values()), rel=1e-12)
    torch.testing.assert_close(matrix, matrix.T, **EXACTLY)  # with rows that sum to one: doubly stochastic


def test_nearest_neighbours_turn_into_each_other_and_into_nothing_else():
    """Two pairs far apart: no noise carries from one to the other."""
    points = torch.tensor([[0.0], [0.1], [9.0], [9.2]])
    matrix = transitions.nearest_neighbour(0.7, points, 1)
    moved = -math.expm1(-2 * 0.7) / 2  # a symmetric pair with rate 1 each way
    block = torch.tensor([[1 - moved, moved], [moved, 1 - moved]], dtype=torch.float64)
    torch.testing.assert_close(matrix, torch.block_diag(block, block), **EXACTLY)


# Closed forms of many steps


@given(SOME)
@settings(max_examples=40, deadline=None)
def test_absorbing_and_uniform_products_keep_their_form(betas):
    for kind in (transitions.absorbing, transitions.uniform):
        closed = kind(noised_of(betas), K)
        torch.testing.assert_close(products(kind(betas, K)), closed, **EXACTLY)


@given(SOME, st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_hybrid_products_keep_their_form(total, share):
    """With steps of which nothing survives among them."""
    to_mask, redrawn = share * total, (1.0 - share) * total
    closed = transitions.hybrid(*transitions.hybrid_noise(to_mask, redrawn), K)
    torch.testing.assert_close(products(transitions.hybrid(to_mask, redrawn, K))[1:], closed, **EXACTLY)


def test_hybrid_noise_of_a_total_step_goes_on():
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    masked, redrawn = transitions.hybrid_noise(torch.cat([none, one, none]), torch.cat([one, none, one]))
    assert masked.tolist() == [0.0, 1.0, 1.0] and redrawn.tolist() == [1.0, 0.0, 0.0]


def test_hybrid_at_its_ends_is_absorbing_or_uniform_among_the_words():
    torch.testing.assert_close(transitions.hybrid(0.3, 0.0, K), transitions.absorbing(0.3, K), **EXACTLY)
    words = transitions.hybrid(0.0, 0.3, K)[: K - 1, : K - 1]
    torch.testing.assert_close(words, transitions.uniform(0.3, K - 1), **EXACTLY)


@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_nearest_neighbour_noise_adds_up(noise):
    matrix = torch.eye(K, dtype=torch.float64)
    for step in noise:
        matrix = matrix @ transitions.nearest_neighbour(step, POINTS, 2)
    torch.testing.assert_close(transitions.nearest_neighbour(sum(noise), POINTS, 2), matrix, **EXACTLY)


def test_gaussian_steps_do_not_keep_their_form():
    """Why Q_bar has to be multiplied for them: no one width makes two steps of 0.5."""
    twice = transitions.gaussian(0.5, K) @ transitions.gaussian(0.5, K)
    nearest = min((twice - transitions.gaussian(beta / 50, K)).abs().max().item() for beta in range(1, 500))
    assert nearest > 0.01


def test_a_thousand_steps_over_32_symbols_are_quick_and_stay_laws():
    bars = products(transitions.gaussian(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 32))
    torch.testing.assert_close(bars.sum(-1), torch.ones(1001, 32, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
def test_noise_that_is_no_probability_is_refused(bad):
    for ask in (transitions.absorbing, transitions.uniform, lambda x, k: transitions.hybrid(x, 0.0, k)):
        with pytest.raises(ValueError, match=r"noise must be in \[0, 1\]"):
            ask(bad, K)


def test_other_bad_input_is_refused_in_one_sentence():
    for size in (1, 257):
        for ask in (transitions.absorbing, transitions.uniform, transitions.gaussian):
            with pytest.raises(ValueError, match=f"must have 2 to 256 symbols, not {size}"):
                ask(0.1, size)
    with pytest.raises(ValueError, match="mask must be 0 to 4, not 5"):
        transitions.absorbing(0.1, K, mask=5)
    with pytest.raises(ValueError, match=r"to_mask \+ redrawn must be at most 1, not 1.2"):
        transitions.hybrid(0.6, 0.6, K)
    for beta in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="beta must be a number of at least 0"):
            transitions.gaussian(beta, K)
    for k in (0, K):
        with pytest.raises(ValueError, match=f"neighbours must be 1 to 4, not {k}"):
            rates.neighbour_rates(POINTS, k)
    with pytest.raises(ValueError, match="embeddings must be"):
        rates.neighbour_rates(POINTS * math.nan, 2)


@given(st.floats(1e-12, 1.0))
@settings(max_examples=50, deadline=None)
def test_half_each_is_the_exponential_of_equal_rates_and_leaves_what_noise_leaves(noised):
    to_mask, redrawn = transitions.half_each(noised)
    assert to_mask + redrawn == pytest.approx(noised, rel=1e-12)
    if noised < 1.0:
        exact = rates.exponential(rates.hybrid_rates(0.5, 0.5, K), -math.log1p(-noised))
        torch.testing.assert_close(transitions.hybrid(to_mask, redrawn, K), exact, rtol=0, atol=1e-12)
    assert transitions.half_each(1.0) == (1.0, 0.0) and transitions.half_each(0.0) == (0.0, 0.0)


@pytest.mark.parametrize("alpha", [0.0, 1e-9, 0.3, 0.999])
def test_words_that_wait_for_a_mask_add_up_to_what_half_each_redraws(alpha):
    """The share redrawn by alpha is the mean over when the first hit came: at alpha' between 1 and alpha, evenly."""
    count = 200_000
    at_hit = 1.0 - (1.0 - alpha) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    mean = float(transitions.half_each_word(at_hit, alpha).mean()) * (1.0 - alpha)
    assert mean == pytest.approx(transitions.half_each(1.0 - alpha)[1], abs=1e-6)
    assert (transitions.half_each_word(torch.tensor([0.2]), 0.5) == 0.5).all()
