"""Scores, reverse rates and steps against Bayes' rule, and what a step that is too long breaks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import absorbing, posteriors, rates, scores, transitions, uniform
from tests.processes import dense
from tests.processes.test_chains import random_matrices

K, MASK = 5, 4
EXACTLY = {"rtol": 0, "atol": 1e-12}
RATES = {
    "absorbing": rates.absorbing_rates(K),
    "uniform": rates.uniform_rates(K),
    "of a matrix": rates.rates_of(random_matrices(5)[0]),
}
INITIAL = torch.cat([dense.random_laws(4, K - 1)[3], torch.zeros(1, dtype=torch.float64)])
EVERY = pytest.mark.parametrize("kind", RATES)
# down to noise of 1e-9, where ratios are 1e9
SIGMAS = pytest.mark.parametrize("sigma", [1e-9, 0.01, 0.7, 6.0])


@SIGMAS
@EVERY
def test_the_score_of_the_marginal_is_the_one_that_the_posterior_gives(kind, sigma):
    to_t = rates.exponential(RATES[kind], sigma)
    marginal, beliefs = INITIAL @ to_t, posteriors.posterior(INITIAL, to_t)
    for x_t in range(K):
        expected = scores.concrete_scores(marginal, x_t)
        assert expected[x_t] == 1.0
        found = scores.scores_from(beliefs[x_t], x_t, to_t)
        comes = to_t[:, x_t] > 0.0  # what can turn into x_t; else there is no reverse rate
        assert int(comes.sum()) == (1 if kind == "absorbing" and x_t != MASK else K)
        torch.testing.assert_close(found[comes], expected[comes], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            scores.reverse_rates(found, x_t, RATES[kind]), scores.reverse_rates(expected, x_t, RATES[kind])
        )


def test_the_closed_forms_of_scores():
    alpha, p = 0.3, INITIAL
    masked = scores.scores_from(p, MASK, transitions.absorbing(1 - alpha, K))
    torch.testing.assert_close(masked[:MASK], absorbing.score_scale(alpha) * p[:MASK], rtol=1e-12, atol=0)
    words = torch.ones(K, dtype=torch.bool)
    found = scores.scores_from(p, 2, transitions.uniform(1 - alpha, K))
    torch.testing.assert_close(found, uniform.scores(p[None], torch.tensor([2]), alpha, words)[0], **EXACTLY)


@EVERY
@given(sigma=st.floats(0.05, 4.0), beta=st.floats(0.0, 5.0))
@settings(max_examples=20, deadline=None)
def test_the_reverse_process_runs_the_marginals_backwards(kind, sigma, beta):
    """p_t times the reverse rates is minus the forward slope, which is what time reversal means."""
    marginal = INITIAL @ rates.exponential(RATES[kind], sigma)
    reverse = scores.reverse_rate_matrix(marginal, RATES[kind], beta)
    forward = rates.forward(marginal, RATES[kind], beta)
    torch.testing.assert_close(marginal @ reverse, -forward, **EXACTLY)
    # and flow by flow: from y to x backwards as much as from x to y forwards
    torch.testing.assert_close(
        rates.flows(marginal, reverse), rates.flows(marginal, RATES[kind], beta).mT, rtol=0, atol=1e-12
    )


@EVERY
def test_a_short_euler_step_is_the_exact_reverse_step(kind):
    """The error of one step is of second order in its length: a tenth of dt, a hundredth of the error."""
    sigma, errors = 0.7, []
    to_t = rates.exponential(RATES[kind], sigma)
    for dt in (1e-2, 1e-3):
        to_s, between = rates.exponential(RATES[kind], sigma - dt), rates.exponential(RATES[kind], dt)
        exact = posteriors.joint_weighted(INITIAL.expand(K, K), torch.arange(K), to_s, between)
        reverse = scores.reverse_rate_matrix(INITIAL @ to_t, RATES[kind])
        steps = torch.stack([scores.euler_step(reverse[x], x, dt).entries for x in range(K)])
        errors.append((steps - exact).abs().max().item())
    assert errors[0] < 1e-2 and 70 < errors[0] / errors[1] < 130


@EVERY
@SIGMAS
def test_the_tweedie_step_is_exact_for_true_scores_however_long(kind, sigma):
    to_s, between = rates.exponential(RATES[kind], sigma), rates.exponential(RATES[kind], 1.5)
    marginal = INITIAL @ to_s @ between
    exact = posteriors.joint_weighted(INITIAL.expand(K, K), torch.arange(K), to_s, between)
    for x_t in range(K):
        found = scores.tweedie_step(scores.concrete_scores(marginal, x_t), x_t, between)
        torch.testing.assert_close(found.entries, exact[x_t], rtol=0, atol=1e-10)


def test_what_a_longer_step_breaks_is_reported():
    reverse = scores.reverse_rates(torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0]).double(), 1, RATES["uniform"], 5.0)
    assert reverse.tolist() == pytest.approx([2.0, -5.0, 1.0, 1.0, 1.0], rel=1e-15)
    longest = scores.longest_step(reverse, 1)
    assert longest == pytest.approx(0.2, rel=1e-15)
    short, long = scores.euler_step(reverse, 1, 0.1), scores.euler_step(reverse, 1, 0.3)
    assert short.is_law and short.excess == 0.0 and not short.negative.any()
    assert short.entries.tolist() == pytest.approx([0.2, 0.5, 0.1, 0.1, 0.1], rel=1e-15)
    assert not long.is_law and long.negative.tolist() == [False, True, False, False, False]
    assert long.excess == pytest.approx(0.5, rel=1e-12) and float(long.entries.sum()) == pytest.approx(1.0)
    assert long.clipped().tolist() == pytest.approx([0.4, 0.0, 0.2, 0.2, 0.2], rel=1e-12)


def test_wrong_scores_break_the_tweedie_step_too():
    step = scores.tweedie_step(torch.tensor([50.0, 1, 0, 0, 0]).double(), 1, transitions.uniform(0.5, K))
    assert step.negative.any() and step.excess > 0.1 and float(step.clipped().sum()) == pytest.approx(1.0)


def test_a_state_that_is_never_left_has_no_longest_step():
    reverse = scores.reverse_rates(torch.zeros(K).double(), 0, RATES["absorbing"])
    assert scores.longest_step(reverse, 0) == math.inf and scores.euler_step(reverse, 0, 9.0).is_law


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="x_t = 4 must be able to occur"):
        scores.concrete_scores(INITIAL, MASK)
    with pytest.raises(ValueError, match="x_0 = 1, which cannot turn into x_t = 0"):
        scores.scores_from(torch.tensor([0.5, 0.5, 0, 0, 0]), 0, transitions.absorbing(0.5, K))
    for bad, beta in [(-1.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.nan)]:
        with pytest.raises(ValueError, match="scores and beta must be numbers of at least 0"):
            scores.reverse_rates(torch.full((K,), bad).double(), 0, RATES["uniform"], beta)
    for dt in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="dt must be"):
            scores.euler_step(torch.zeros(K).double(), 0, dt)
    with pytest.raises(ValueError, match="nothing survives from s to t"):
        scores.tweedie_step(torch.ones(K).double(), MASK, transitions.absorbing(1.0, K))
