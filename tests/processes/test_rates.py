"""Continuous time three ways: closed forms, the matrix exponential and a differential equation, one result."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import LINEAR, chains, rates, transitions
from ddemo.processes.curves import CURVES
from ddemo.processes.validation import rate_matrix
from tests.processes.test_chains import random_matrices

K = 5
EXACTLY = {"rtol": 0, "atol": 1e-12}
POINTS = torch.randn(K, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
RATES = {
    "absorbing": rates.absorbing_rates(K),
    "uniform": rates.uniform_rates(K),
    "hybrid": rates.hybrid_rates(0.4, 1.3, K),
    "nearest neighbour": rates.neighbour_rates(POINTS, 2),
    "of a matrix": rates.rates_of(random_matrices(5)[0]),
}
CLOSED = {
    "absorbing": lambda sigma: transitions.absorbing(-math.expm1(-sigma), K),
    "uniform": lambda sigma: transitions.uniform(-math.expm1(-sigma), K),
    "hybrid": lambda sigma: transitions.hybrid(
        -math.expm1(-0.4 * sigma), -math.exp(-0.4 * sigma) * math.expm1(-1.3 * sigma), K
    ),
}
EVERY = pytest.mark.parametrize("kind", RATES)


@EVERY
def test_they_are_rates(kind):
    checked = rate_matrix(RATES[kind])
    torch.testing.assert_close(checked, RATES[kind], **EXACTLY)
    assert RATES[kind].abs().max() > 0.1


@pytest.mark.parametrize("kind", CLOSED)
@pytest.mark.parametrize("sigma", [0.0, 1e-12, 1e-3, 0.7, 5.0, 40.0])
def test_the_exponential_is_the_closed_form(kind, sigma):
    torch.testing.assert_close(rates.exponential(RATES[kind], sigma), CLOSED[kind](sigma), rtol=0, atol=1e-13)


@EVERY
@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.01, 1 / 64, 0.3])
def test_near_the_identity_it_is_the_series(kind, sigma):
    """Where torch's own matrix_exp is off by 1e-11."""
    term = series = torch.eye(K, dtype=torch.float64)
    for n in range(1, 25):
        term = term @ RATES[kind] * (sigma / n)
        series = series + term
    torch.testing.assert_close(rates.exponential(RATES[kind], sigma), series, rtol=0, atol=1e-15)


@EVERY
@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0))
@settings(max_examples=20, deadline=None)
def test_noise_adds_up_and_rows_stay_laws(kind, first, second):
    both = rates.exponential(RATES[kind], first) @ rates.exponential(RATES[kind], second)
    whole = rates.exponential(RATES[kind], first + second)
    torch.testing.assert_close(both, whole, **EXACTLY)
    assert (whole >= 0).all()
    torch.testing.assert_close(whole.sum(-1), torch.ones(K, dtype=torch.float64), **EXACTLY)


@EVERY
@pytest.mark.parametrize("name", ["linear", "cosine", "md4-cosine", "geometric", "constant-rate"])
def test_the_kolmogorov_equation_leads_where_the_exponential_is(kind, name):
    schedule, law = CURVES[name], random_matrices(7)[0, 0]
    times = [k / 20 for k in range(19)]
    solved = rates.solve(law, RATES[kind], schedule.beta, times, 32)
    assert torch.equal(solved[0], law)
    for t, p in zip(times, solved, strict=True):
        exact = law @ rates.exponential(RATES[kind], schedule.sigma(t) - schedule.sigma(0.0))
        torch.testing.assert_close(p, exact, rtol=0, atol=2e-7)


def test_the_solver_is_of_fourth_order():
    law = random_matrices(7)[0, 0]
    exact = law @ rates.exponential(RATES["of a matrix"], LINEAR.sigma(0.8))
    errors = [
        (rates.solve(law, RATES["of a matrix"], LINEAR.beta, [0.0, 0.8], n)[-1] - exact).abs().max().item()
        for n in (20, 40, 80)
    ]
    assert 12 < errors[0] / errors[1] < 20 and 12 < errors[1] / errors[2] < 20


@EVERY
def test_the_forward_equation_is_the_slope_of_the_law_and_the_balance_of_flows(kind):
    law, h = random_matrices(2)[0, 0], 1e-5
    ahead, behind = (law @ torch.linalg.matrix_exp(s * h * RATES[kind]) for s in (3.0, -3.0))
    slope = rates.forward(law, RATES[kind], 3.0)
    torch.testing.assert_close(slope, (ahead - behind) / (2 * h), rtol=0, atol=1e-8)
    flows = rates.flows(law, RATES[kind], 3.0)
    torch.testing.assert_close(flows.sum(0) - flows.sum(1), slope, **EXACTLY)
    assert (flows >= 0).all() and (flows.diagonal() == 0).all()


@EVERY
def test_discrete_steps_come_closer_as_they_grow_many(kind):
    exact = rates.exponential(RATES[kind], 2.0)
    gaps = [chains.total_variation(rates.discrete_steps(RATES[kind], 2.0, n), exact).max() for n in (10, 100, 1000)]
    assert 8 < gaps[0] / gaps[1] < 14 and 8 < gaps[1] / gaps[2] < 12  # of first order


def test_too_few_discrete_steps_are_not_hidden():
    assert (rates.discrete_steps(RATES["absorbing"], 3.0, 1) < 0).any()
    assert (rates.discrete_steps(RATES["absorbing"], 3.0, 3) >= 0).all()


@EVERY
def test_nothing_flows_at_the_stationary_law(kind):
    for law in chains.stationary_laws(RATES[kind]):
        torch.testing.assert_close(rates.forward(law, RATES[kind]), torch.zeros(K, dtype=torch.float64), **EXACTLY)


def test_the_rates_of_a_matrix_jump_at_poisson_times():
    """exp(s (Q - I)) = sum over n of P(n jumps) Q^n."""
    matrix, sigma = random_matrices(5)[0], 1.3
    jumps = [math.exp(-sigma) * sigma**n / math.factorial(n) for n in range(30)]
    powers = [jump * torch.linalg.matrix_power(matrix, n) for n, jump in enumerate(jumps)]
    torch.testing.assert_close(rates.exponential(rates.rates_of(matrix), sigma), sum(powers), **EXACTLY)


def test_neighbour_rates_entry_by_entry():
    """On a line at 0, 1, 3, 7 with one neighbour each: 0-1, 1-0, 2-1, 3-2; (G + G^T) / 2."""
    found = rates.neighbour_rates(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), 1)
    expected = [[-1, 1, 0, 0], [1, -1.5, 0.5, 0], [0, 0.5, -1, 0.5], [0, 0, 0.5, -0.5]]
    assert found.tolist() == expected
    tie = rates.neighbour_rates(torch.tensor([[0.0], [1.0], [2.0]]), 1)
    assert tie.tolist() == [[-1, 1, 0], [1, -1.5, 0.5], [0, 0.5, -0.5]]  # the middle takes the earlier


def test_bad_input_is_refused():
    for sigma in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="sigma must be a number of at least 0"):
            rates.exponential(RATES["uniform"], sigma)
    with pytest.raises(ValueError, match="beta must be finite"):
        rates.solve(torch.eye(K)[0], RATES["uniform"], LINEAR.beta, [0.5, 1.0])
    with pytest.raises(ValueError, match="times must rise"):
        rates.solve(torch.eye(K)[0], RATES["uniform"], LINEAR.beta, [0.5, 0.2])
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="rates must be numbers of at least 0"):
            rates.hybrid_rates(bad, 0.1, K)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        rates.discrete_steps(RATES["uniform"], 1.0, 0)
    with pytest.raises(ValueError, match="mask must be 0 to 4, not 7"):
        rates.absorbing_rates(K, 7)
