"""Every noise schedule against its formula, its inverse, its derivative and the rate that follows from them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import LINEAR, SCHEDULES
from ddemo.processes.absorbing import stay_masked
from tests.processes.dense import DERIVABLE

EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
SMOOTH = pytest.mark.parametrize("name", DERIVABLE)
FORMULAS = {
    "linear": lambda t: 1 - t,
    "cosine": lambda t: math.cos(math.pi / 2 * t),
    "cosine-squared": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "quadratic": lambda t: 1 - 2 * t + t * t,
    "geometric": lambda t: math.exp(-math.exp((1 - t) * math.log(1e-5) + t * math.log(20.0))),
}


def f(k: int) -> float:
    """Of D3PM's cosine schedule, over 1,000 steps."""
    return math.cos((k / 1000 + 0.008) / 1.008 * math.pi / 2)


def test_the_table_names_each_schedule_and_says_where_it_is_from():
    assert set(SCHEDULES) == {*FORMULAS, "d3pm-cosine"}
    for name, schedule in SCHEDULES.items():
        assert name == schedule.name and schedule.formula and schedule.source


@SMOOTH
@pytest.mark.parametrize("t", [0.0, 1e-5, 0.123, 0.5, 0.9, 1.0])
def test_alpha_is_the_formula(name, t):
    assert math.isclose(SCHEDULES[name].alpha(t), FORMULAS[name](t), rel_tol=0, abs_tol=1e-15)


@EVERY
def test_alpha_falls_from_clean_to_noise(schedule):
    values = [schedule.alpha(k / 1000) for k in range(1001)]
    assert all(after < before for before, after in itertools.pairwise(values))
    assert values[0] == (math.exp(-1e-5) if schedule.name == "geometric" else 1.0)
    assert values[-1] == 0.0 or (0.0 < values[-1] < 1e-5 and schedule.name in ("geometric", "d3pm-cosine"))


@EVERY
def test_something_has_been_noised_at_every_time_but_the_first(schedule):
    """Else 1 - alpha(t), by which reverse steps divide, would be 0 at the end of a run."""
    assert all(schedule.alpha(t) < 1.0 for t in (1e-5, 4e-4, 5e-4, 1 / 1024))


@SMOOTH
@given(alpha=st.floats(1e-6, 0.9999))
@settings(max_examples=60, deadline=None)
def test_time_at_undoes_alpha(name, alpha):
    schedule = SCHEDULES[name]
    time = schedule.time_at(alpha)
    assert 0.0 <= time <= 1.0
    assert math.isclose(schedule.alpha(time), alpha, rel_tol=0, abs_tol=1e-12)


@EVERY
def test_time_at_both_ends(schedule):
    assert schedule.time_at(1.0) == pytest.approx(0.0, abs=1e-12)
    assert schedule.time_at(0.0) == 1.0 and schedule.alpha(1.0) <= 1e-5


@given(step=st.integers(0, 1000), share=st.floats(0.001, 0.999))
@settings(max_examples=60, deadline=None)
def test_time_at_of_discrete_steps_is_the_first_that_is_noisy_enough(step, share):
    schedule = SCHEDULES["d3pm-cosine"]
    assert schedule.time_at(schedule.alpha(step / 1000)) == step / 1000
    if step < 1000:
        between = (1 - share) * schedule.alpha(step / 1000) + share * schedule.alpha((step + 1) / 1000)
        assert schedule.time_at(between) == (step + 1) / 1000


@SMOOTH
@pytest.mark.parametrize("t", [0.03, 0.2, 0.5, 0.77, 0.97])
def test_the_derivative_is_that_of_finite_differences(name, t):
    """Of fourth order, so that the step can be large enough for float64."""
    alpha, h = SCHEDULES[name].alpha, 1e-4
    slope = (8 * (alpha(t + h) - alpha(t - h)) - (alpha(t + 2 * h) - alpha(t - 2 * h))) / (12 * h)
    assert math.isclose(SCHEDULES[name].derivative(t), slope, rel_tol=1e-8, abs_tol=1e-10)


@SMOOTH
@pytest.mark.parametrize("t, s", [(1.0, 0.9), (0.9, 0.5), (0.3, 0.05)])
def test_the_hazard_summed_over_time_is_the_ancestral_step(name, t, s):
    """exp(-integral of the hazard from s to t) is the probability that a mask stays one; Simpson's rule."""
    schedule, pieces = SCHEDULES[name], 4000
    weights = [1.0, *([4.0, 2.0] * (pieces // 2 - 1)), 4.0, 1.0]
    rates = [schedule.hazard(s + (t - s) * k / pieces) for k in range(pieces + 1)]
    integral = sum(w * rate for w, rate in zip(weights, rates, strict=True)) * (t - s) / pieces / 3
    stay = stay_masked(schedule.alpha(t), schedule.alpha(s))
    assert math.isclose(math.exp(-integral), stay, rel_tol=1e-9)


def test_the_hazard_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="d3pm-cosine schedule has no derivative"):
        SCHEDULES["d3pm-cosine"].hazard(0.5)
    for t in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"t must be in \(0, 1\]"):
            LINEAR.hazard(t)


def test_the_discrete_table_is_the_product_of_d3pms_betas():
    """1 - beta = f(k) / f(k - 1) telescopes, until the last beta is cut off at 0.999."""
    schedule = SCHEDULES["d3pm-cosine"]
    expected = torch.tensor([f(k) / f(0) for k in range(1000)] + [0.001 * f(999) / f(0)], dtype=torch.float64)
    table = torch.tensor([schedule.alpha(k / 1000) for k in range(1001)], dtype=torch.float64)
    torch.testing.assert_close(table, expected, rtol=0, atol=1e-12)


def test_a_time_between_two_discrete_steps_has_the_noise_of_the_later_one():
    alpha = SCHEDULES["d3pm-cosine"].alpha
    assert alpha(0.2501) == alpha(0.2509) == alpha(0.251) < alpha(0.25)


def test_linear_is_the_product_of_d3pms_absorbing_betas():
    """beta_k = 1 / (T - k + 1), as its source line says."""
    kept, steps = 1.0, 50
    for k in range(1, steps + 1):
        kept *= 1.0 - 1.0 / (steps - k + 1)
        assert math.isclose(kept, LINEAR.alpha(k / steps), rel_tol=0, abs_tol=1e-12)
