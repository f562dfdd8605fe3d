"""The lab's noise curves: values to full precision at both ends of time, aliases, inverses and conversions."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import LINEAR, SCHEDULES
from ddemo.processes.curves import CURVES, constant_rate, curve, polynomial, power_of_rest
from ddemo.processes.schedules import staircase

EARLY, LATE = 2.0**-40, 1.0 - 2.0**-40
SMOOTH = [name for name, schedule in CURVES.items() if schedule.derivative]
TIMES = st.floats(0.0, 1.0)

# (name, t): 1 - alpha, sigma, beta and hazard, computed with 60 digits from the formula of alpha alone
VALUES = {
    ("linear", EARLY): (9.0949470177292824e-13, 9.0949470177334183e-13, 1.0000000000009095, 1099511627776.0),
    ("linear", 0.3): (0.29999999999999999, 0.35667494393873236, 1.4285714285714285, 3.3333333333333335),
    ("linear", LATE): (0.99999999999909051, 27.725887222397812, 1099511627776.0, 1.0000000000009095),
    ("cosine", EARLY): (1.0204931767686442e-24, 1.0204931767686442e-24, 2.2440882278463866e-12, 2199023255552.0),
    ("cosine", 0.3): (0.10899347581163213, 0.11540352921673528, 0.80036070447436736, 6.542837578857655),
    ("cosine", LATE): (0.99999999999857137, 27.274304517108358, 1099511627776.0, 1.5707963267971407),
    ("cosine-squared", EARLY): (
        2.0409863535372884e-24,
        2.0409863535372884e-24,
        4.4881764556927731e-12,
        2199023255552.0,
    ),
    ("cosine-squared", 0.3): (0.20610737385376342, 0.23080705843347056, 1.6007214089487347, 6.1657227459531318),
    ("cosine-squared", LATE): (1.0, 54.548609034216715, 2199023255552.0, 4.4881764556927731e-12),
    ("quadratic", EARLY): (1.8189894035450293e-12, 1.8189894035466837e-12, 2.000000000001819, 1099511627775.5),
    ("quadratic", 0.3): (0.50999999999999998, 0.71334988787746473, 2.8571428571428571, 2.7450980392156864),
    ("quadratic", LATE): (1.0, 55.451774444795625, 2199023255552.0, 1.8189894035458565e-12),
    ("geometric", EARLY): (9.9999500002986204e-6, 1.0000000000131955e-5, 0.00014508657738715669, 14.508585195356431),
    ("geometric", 0.3): (0.00077649797900616776, 0.00077679960971573365, 0.011270319668784772, 14.503023308254813),
    ("geometric", LATE): (0.99999999793884638, 19.999999999736089, 290.17315476665539, 5.9809145047231728e-7),
    ("polynomial-2", EARLY): (
        8.2718061255302767e-25,
        8.2718061255302767e-25,
        1.8189894035458565e-12,
        2199023255552.0,
    ),
    ("polynomial-2", 0.3): (0.089999999999999993, 0.09431067947124132, 0.65934065934065931, 6.6666666666666669),
    ("polynomial-2", LATE): (0.99999999999818101, 27.032740041838322, 1099511627775.5, 2.000000000001819),
    ("md4-cosine", EARLY): (1.4286309367843356e-12, 1.4286309367853561e-12, 1.5707963267971407, 1099511627776.0),
    ("md4-cosine", 0.3): (0.45399049973954678, 0.60511890364418598, 2.5633066360159576, 3.0828613729765659),
    ("md4-cosine", LATE): (1.0, 55.24175621477666, 2199023255552.0, 2.2440882278463866e-12),
    ("constant-rate", EARLY): (9.0949470176879233e-12, 9.0949470177292824e-12, 10.0, 1099511627771.0),
    ("constant-rate", 0.3): (0.95021293163213605, 2.9999999999999999, 10.0, 0.52395696491255958),
    ("constant-rate", LATE): (0.9999546000702371, 9.9999999999909051, 10.0, 0.00045401991010100716),
}


@pytest.mark.parametrize("name, t", VALUES)
def test_every_level_has_full_precision_at_both_ends(name, t):
    schedule = CURVES[name]
    found = (schedule.noised(t), schedule.sigma(t), schedule.beta(t), schedule.hazard(t))
    assert found == pytest.approx(VALUES[name, t], rel=1e-12, abs=0)


def test_the_stored_values_cover_every_smooth_curve_at_both_ends():
    assert set(VALUES) == {(name, t) for name in SMOOTH for t in (EARLY, 0.3, LATE)}


def test_the_table_holds_the_samplers_schedules_and_names_itself():
    assert SCHEDULES.items() <= CURVES.items() and len(CURVES) > len(SCHEDULES)
    for name, schedule in CURVES.items():
        assert name == schedule.name and schedule.formula and schedule.source


@pytest.mark.parametrize("alias", ["linear", "log-linear", "1 / (T - t + 1)", "mutual information (absorbing)"])
def test_one_curve_under_several_names_is_one_object(alias):
    assert curve(alias) is LINEAR


def test_no_two_curves_share_a_name_and_an_unknown_one_is_refused():
    names = [name for schedule in CURVES.values() for name in (schedule.name, *schedule.aliases)]
    assert len(names) == len(set(names))
    with pytest.raises(ValueError, match=r"schedule must be one of linear, .*, not 'sigmoid'"):
        curve("sigmoid")


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_falls_and_time_at_undoes_it(name):
    schedule = CURVES[name]
    values = [schedule.alpha(k / 200) for k in range(201)]
    assert all(after < before for before, after in itertools.pairwise(values))
    for k in range(1, 200):
        assert schedule.time_at(values[k]) == pytest.approx(k / 200, abs=1e-9)


@pytest.mark.parametrize("name", CURVES)
@given(TIMES, TIMES)
@settings(max_examples=40, deadline=None)
def test_the_levels_agree_with_each_other(name, first, second):
    """alpha, 1 - alpha and sigma are three ways to write one number, and so are kept and lost."""
    schedule, s, t = CURVES[name], min(first, second), max(first, second)
    assert schedule.alpha(t) + schedule.noised(t) == pytest.approx(1.0, abs=1e-14)
    assert math.exp(-schedule.sigma(t)) == pytest.approx(schedule.alpha(t), rel=1e-12)
    assert 0.0 <= schedule.kept(t, s) <= 1.0 and -1e-12 <= schedule.lost(t, s) <= 1.0 + 1e-12
    assert schedule.kept(t, s) + schedule.lost(t, s) == pytest.approx(1.0, abs=1e-12)
    if schedule.noised(t) > 0.0:
        assert 0.0 <= schedule.stay(t, s) <= 1.0


@pytest.mark.parametrize("name", SMOOTH)
@given(st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_derivatives_are_those_of_finite_differences(name, t):
    schedule, h = CURVES[name], 1e-4
    alpha = schedule.alpha
    slope = (8 * (alpha(t + h) - alpha(t - h)) - (alpha(t + 2 * h) - alpha(t - 2 * h))) / (12 * h)
    assert schedule.derivative(t) == pytest.approx(slope, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_noise_of_one_step_is_what_the_rate_adds_up_to(name):
    """sigma(t) - sigma(s) = integral of beta, by Simpson's rule; kept(t, s) is e to its negative."""
    schedule, s, t, pieces = CURVES[name], 0.2, 0.7, 2000
    weights = [1.0, *([4.0, 2.0] * (pieces // 2 - 1)), 4.0, 1.0]
    rates = [schedule.beta(s + (t - s) * k / pieces) for k in range(pieces + 1)]
    total = sum(w * rate for w, rate in zip(weights, rates, strict=True)) * (t - s) / pieces / 3
    assert total == pytest.approx(schedule.sigma(t) - schedule.sigma(s), rel=1e-9)
    assert math.exp(-total) == pytest.approx(schedule.kept(t, s), rel=1e-9)


def test_the_ends_of_time_themselves():
    for name in ("linear", "cosine", "cosine-squared", "quadratic", "polynomial-2", "md4-cosine"):
        schedule = CURVES[name]
        assert schedule.noised(0.0) == schedule.sigma(0.0) == 0.0
        assert schedule.noised(1.0) == 1.0 and schedule.sigma(1.0) == schedule.beta(1.0) == math.inf
        assert schedule.stay(1e-9, 0.0) == 0.0 and schedule.kept(1.0, 0.5) == 0.0 and schedule.lost(1.0, 0.5) == 1.0


def test_short_steps_near_the_start_keep_their_digits():
    """1 - alpha is 5e-23 and 2e-22 here, of which a subtraction from 1 leaves nothing."""
    assert 1.0 - CURVES["polynomial-2"].alpha(1e-11) == 0.0
    assert CURVES["polynomial-2"].stay(2e-11, 1e-11) == pytest.approx(0.25, rel=1e-14)
    assert CURVES["cosine"].stay(2e-11, 1e-11) == pytest.approx(0.25, rel=1e-14)
    assert CURVES["cosine"].lost(2e-11, 1e-11) == pytest.approx(3 * math.pi**2 / 8 * 1e-22, rel=1e-12, abs=0)


@given(st.floats(0.2, 6.0), st.floats(1e-3, 1.0))
@settings(max_examples=60, deadline=None)
def test_the_families_at_their_known_members(power, t):
    assert polynomial(1.0).alpha(t) == pytest.approx(LINEAR.alpha(t), abs=1e-15)
    assert power_of_rest(2.0).alpha(t) == SCHEDULES["quadratic"].alpha(t)
    assert power_of_rest(2.0).noised(t) == pytest.approx(SCHEDULES["quadratic"].noised(t), rel=1e-12)
    assert polynomial(power).noised(t) == pytest.approx(power_of_rest(power).alpha(1.0 - t), rel=1e-9, abs=0)
    assert constant_rate(power).sigma(t) == pytest.approx(power * t, rel=1e-12)
    assert polynomial(power).hazard(t) == pytest.approx(power / t, rel=1e-12)


@pytest.mark.parametrize("family", [polynomial, power_of_rest, constant_rate])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_family_refuses_what_gives_no_curve(family, value):
    with pytest.raises(ValueError, match="must be a positive number"):
        family(value)


def test_a_staircase_is_its_betas_product():
    steps = staircase("two", "-", "-", lambda: [0.5, 0.2])
    assert [steps.alpha(t) for t in (0.0, 0.3, 0.5, 0.7, 1.0)] == [1.0, 0.5, 0.5, 0.4, 0.4]
    assert [steps.time_at(a) for a in (1.0, 0.5, 0.45, 0.1)] == [0.0, 0.5, 1.0, 1.0]
    linear = CURVES["d3pm-linear"]
    assert linear.alpha(0.001) == 1 - 1e-4 and linear.alpha(0.002) / linear.alpha(0.001) < linear.alpha(0.001)
    assert linear.alpha(1.0) == pytest.approx(4.0358e-5, rel=1e-4)  # DDPM's alpha_bar at T = 1,000


@pytest.mark.parametrize("t", [-1e-9, 1.0 + 1e-9, math.nan, math.inf])
@pytest.mark.parametrize("level", ["noised", "sigma", "beta", "hazard"])
def test_times_outside_are_refused(level, t):
    with pytest.raises(ValueError, match=r"t must be in [\[(]0, 1\], not"):
        getattr(LINEAR, level)(t)


def test_pairs_of_times_in_the_wrong_order_and_missing_derivatives_are_refused():
    for t, s in [(0.2, 0.3), (math.nan, 0.0), (1.1, 0.0)]:
        for pair in (LINEAR.kept, LINEAR.lost, LINEAR.stay):
            with pytest.raises(ValueError, match="0 <= s <= t <= 1"):
                pair(t, s)
    with pytest.raises(ValueError, match="something is noised"):
        LINEAR.stay(0.0, 0.0)
    with pytest.raises(ValueError, match="d3pm-linear schedule has no derivative"):
        CURVES["d3pm-linear"].beta(0.5)
