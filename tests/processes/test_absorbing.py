"""The closed forms of absorbing noise against dense matrices over five tokens, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import LINEAR, SCHEDULES
from ddemo.processes.absorbing import (
    analytic_reveal,
    any_jump,
    euler_reveal,
    most_remasking,
    one_jump,
    remasking_reveal,
    score_scale,
    stay_masked,
)
from tests.processes import dense
from tests.processes.dense import DERIVABLE

K, MASK = 5, 4
TIMES = [(1.0, 0.9), (1.0, 0.0), (0.7, 0.35), (0.5, 0.499), (0.3, 0.1), (0.05, 0.0), (0.3, 0.3)]
EVERY_STEP = pytest.mark.parametrize("t, s", TIMES)
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
SMOOTH = pytest.mark.parametrize("schedule", [SCHEDULES[name] for name in DERIVABLE], ids=DERIVABLE)
EXACTLY = {"rtol": 0, "atol": 1e-12}
BELIEFS = torch.cat([dense.random_laws(6, K - 1), torch.zeros(6, 1, dtype=torch.float64)], 1)  # no mask in x0


def alphas(schedule, t: float, s: float) -> tuple[float, float]:
    return schedule.alpha(t), 1.0 if s == 0.0 else schedule.alpha(s)


def matrices(alpha_t: float, alpha_s: float) -> tuple[torch.Tensor, torch.Tensor]:
    """q(x_s | x_0) and q(x_t | x_s)."""
    return dense.absorbing_matrix(alpha_s, K), dense.absorbing_matrix(alpha_t / alpha_s, K)


def revealed(probability: float, p: torch.Tensor) -> torch.Tensor:
    """[K] the law of what stands where a mask stood."""
    law = probability * p
    law[MASK] = 1.0 - probability
    return law


# The exact reverse step


@EVERY_STEP
@EVERY_SCHEDULE
def test_a_mask_is_revealed_as_bayes_rule_says(schedule, t, s):
    """For every x0 in any belief; `stay_masked` does not depend on it."""
    alpha_t, alpha_s = alphas(schedule, t, s)
    to_s, between = matrices(alpha_t, alpha_s)
    torch.testing.assert_close(to_s @ between, dense.absorbing_matrix(alpha_t, K), **EXACTLY)
    for p in BELIEFS:
        expected = dense.mean_posterior(p, MASK, to_s, between)
        law = revealed(1.0 - stay_masked(alpha_t, alpha_s), p)
        torch.testing.assert_close(law, expected, **EXACTLY)
        assert math.isclose(law.sum(), 1.0, abs_tol=1e-12)
        # A mask says nothing about x0, so that both ways to use the belief are one.
        torch.testing.assert_close(dense.joint_weighted(p, MASK, to_s, between), expected, **EXACTLY)


@EVERY_SCHEDULE
def test_a_token_stays_what_it_is(schedule):
    """Why no sampler without remasking touches one: there is one x0 that it can be from, and one x_s."""
    to_s, between = matrices(*alphas(schedule, 0.7, 0.3))
    for token in range(K - 1):
        one_hot = torch.eye(K, dtype=torch.float64)[token]
        torch.testing.assert_close(dense.mean_posterior(one_hot, token, to_s, between), one_hot, **EXACTLY)


@given(st.floats(1e-9, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None)
def test_two_short_steps_are_one_long_step(t, first, second):
    """P(mask survives t -> r) P(mask survives r -> s) = P(mask survives t -> s)."""
    r = t * max(first, 1e-3)
    s = r * second
    product = stay_masked(LINEAR.alpha(t), LINEAR.alpha(r)) * stay_masked(LINEAR.alpha(r), LINEAR.alpha(s))
    assert math.isclose(product, stay_masked(LINEAR.alpha(t), LINEAR.alpha(s)), rel_tol=1e-5, abs_tol=1e-6)


def test_the_last_step_keeps_no_mask_and_a_standing_step_keeps_every_mask():
    assert stay_masked(0.25, 1.0) == stay_masked(0.0, 1.0) == 0.0
    assert stay_masked(0.25, 0.25) == stay_masked(0.0, 0.0) == 1.0


@pytest.mark.parametrize(
    "alpha_t, alpha_s",
    [(1.0, 1.0), (0.5, 0.4), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5), (0.5, math.nan)],
)
def test_impossible_survival_probabilities_are_refused(alpha_t, alpha_s):
    with pytest.raises(ValueError, match="alpha_t"):
        stay_masked(alpha_t, alpha_s)


# Steps from scores and rates


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.4, 0.999])
def test_scores_are_ratios_of_marginals(alpha):
    for p in BELIEFS:
        expected = dense.score(p, MASK, dense.absorbing_matrix(alpha, K))
        assert math.isclose(expected[MASK], 1.0, abs_tol=1e-12)
        torch.testing.assert_close(score_scale(alpha) * p[:MASK], expected[:MASK], rtol=1e-12, atol=0)


@EVERY_STEP
@EVERY_SCHEDULE
def test_the_analytic_step_is_seds_formula_and_the_ancestral_step(schedule, t, s):
    """Alpha is at least 0.001, as SEDD has it, for the scores to be finite. The inverse noise has e^D in it, up to
    1,000, hence the looser bound against matrices."""
    alpha_t, alpha_s = (0.001 + 0.999 * alpha for alpha in alphas(schedule, t, s))
    _, between = matrices(alpha_t, alpha_s)
    for p in BELIEFS:
        reveal = analytic_reveal(score_scale(alpha_t), alpha_t, alpha_s)
        scores = dense.score(p, MASK, dense.absorbing_matrix(alpha_t, K))
        torch.testing.assert_close(revealed(reveal, p), dense.tweedie(scores, MASK, between), rtol=0, atol=1e-11)
        assert math.isclose(reveal, 1.0 - stay_masked(alpha_t, alpha_s), rel_tol=0, abs_tol=1e-12)


def test_the_noise_is_the_exponential_of_its_rates():
    """The rates that the next tests use belong to the matrices that the last ones used."""
    for sigma in (0.1, 1.0, 3.0):
        expected = dense.absorbing_matrix(math.exp(-sigma), K)
        torch.testing.assert_close(torch.linalg.matrix_exp(sigma * dense.absorbing_rate(K)), expected, **EXACTLY)


@EVERY_STEP
@SMOOTH
def test_euler_tau_leap_and_jump_take_the_rates_of_the_scores(schedule, t, s):
    alpha_t = 0.001 + 0.999 * schedule.alpha(t)
    sigma_rate, stride = -0.999 * schedule.derivative(t) / alpha_t, t - s
    for p in BELIEFS:
        scores = dense.score(p, MASK, dense.absorbing_matrix(alpha_t, K))
        rates = dense.reverse_rate(scores, MASK, sigma_rate * dense.absorbing_rate(K))
        reveal = euler_reveal(score_scale(alpha_t), sigma_rate, stride)
        torch.testing.assert_close(revealed(reveal, p), dense.euler(rates, MASK, stride), **EXACTLY)
        expected = stride * sigma_rate * score_scale(alpha_t)
        leap = dense.one_poisson_jump(rates, MASK, stride)
        torch.testing.assert_close(revealed(one_jump(expected), p), leap, **EXACTLY)
        jump = dense.first_jump(rates, MASK, stride)
        torch.testing.assert_close(revealed(any_jump(expected), p), jump, **EXACTLY)


@EVERY_STEP
def test_euler_is_ancestral_on_the_linear_schedule_and_not_on_others(t, s):
    def both(schedule):
        alpha_t, alpha_s = alphas(schedule, t, s)
        if alpha_t < 1e-12:  # where sigma is infinite, and SEDD's floor is needed
            alpha_t = 1e-9
        rate = -schedule.derivative(t) / alpha_t
        return euler_reveal(score_scale(alpha_t), rate, t - s), 1.0 - stay_masked(alpha_t, alpha_s)

    assert math.isclose(*both(LINEAR), rel_tol=0, abs_tol=1e-8)
    if 0.0 < s < t < 1.0:
        assert not math.isclose(*both(SCHEDULES["cosine"]), rel_tol=0, abs_tol=1e-7)


@SMOOTH
@pytest.mark.parametrize("t", [0.2, 0.5, 0.9])
def test_all_steps_from_rates_are_ancestral_in_the_limit_of_short_strides(schedule, t):
    """The error of a step is of the order of its square, so halving the stride at least quarters it."""

    def errors(stride: float) -> list[float]:
        expected = stride * schedule.hazard(t)
        exact = 1.0 - stay_masked(schedule.alpha(t), schedule.alpha(t - stride))
        return [abs(law(expected) - exact) for law in (lambda x: x, one_jump, any_jump)]

    for long, short in zip(errors(2e-3), errors(1e-3), strict=True):
        assert long < 1e-3 and (short < 1e-12 or long / short > 3.5)


def test_a_step_that_would_reveal_more_than_everything_reveals_everything():
    assert euler_reveal(1.0, 30.0, 0.1) == 1.0
    assert analytic_reveal(2.0, 0.1, 0.2) == 1.0
    assert one_jump(0.0) == any_jump(0.0) == 0.0
    assert any_jump(1e9) == 1.0 and one_jump(1e9) == 0.0


def test_any_jump_keeps_small_probabilities():
    assert math.isclose(any_jump(1e-18), 1e-18, rel_tol=1e-12)


# Remasking


@EVERY_STEP
@EVERY_SCHEDULE
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_remasking_keeps_the_marginals(schedule, t, s, share):
    """q(x_s | x0) stays the schedule's whatever is masked again, up to the most that is possible, for every x0."""
    alpha_t, alpha_s = alphas(schedule, t, s)
    remask = share * most_remasking(alpha_t, alpha_s)
    reveal = remasking_reveal(alpha_t, alpha_s, remask)
    assert 0.0 <= remask <= 1.0 and 0.0 <= reveal <= 1.0
    for x0 in range(K - 1):
        step = torch.eye(K, dtype=torch.float64)
        step[x0, x0], step[x0, MASK] = 1.0 - remask, remask
        step[MASK, x0], step[MASK, MASK] = reveal, 1.0 - reveal
        at_s = dense.absorbing_matrix(alpha_t, K)[x0] @ step
        torch.testing.assert_close(at_s, dense.absorbing_matrix(alpha_s, K)[x0], **EXACTLY)


@EVERY_STEP
@EVERY_SCHEDULE
def test_more_than_the_most_remasking_could_not_keep_them(schedule, t, s):
    alpha_t, alpha_s = alphas(schedule, t, s)
    most = most_remasking(alpha_t, alpha_s)
    if most < 1.0 and alpha_t > 1e-3:  # else there is next to nothing that could be masked again
        more = most + 0.01
        needed = (alpha_s - (1.0 - more) * alpha_t) / (1.0 - alpha_t)  # not a probability any more
        assert needed > 1.0 == remasking_reveal(alpha_t, alpha_s, more)


@EVERY_STEP
@EVERY_SCHEDULE
def test_without_remasking_it_is_the_ancestral_step(schedule, t, s):
    alpha_t, alpha_s = alphas(schedule, t, s)
    assert math.isclose(remasking_reveal(alpha_t, alpha_s, 0.0), 1.0 - stay_masked(alpha_t, alpha_s), abs_tol=1e-12)


def test_remasking_at_the_ends_of_time():
    assert most_remasking(0.0, 0.3) == 1.0 and most_remasking(0.0, 0.0) == 1.0  # there is nothing to mask again
    assert most_remasking(0.4, 1.0) == 0.0 and remasking_reveal(0.4, 1.0, 0.0) == 1.0
    assert most_remasking(0.4, 0.5) == 1.0  # as much noise as before may be put back
    assert math.isclose(most_remasking(0.8, 0.9), 0.125)
    assert remasking_reveal(1.0, 1.0, 0.0) == 1.0  # a mask that should not be there any more
