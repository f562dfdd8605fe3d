"""Score entropy against its definition, against divergences of path laws, and the bound on a toy joint."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import bounds, posteriors, rates, score_entropy, scores, transitions, uniform
from ddemo.processes.curves import CURVES
from tests.processes import dense
from tests.processes.test_chains import random_matrices
from tests.processes.test_exact import random_world

K, MASK = 5, 4
EXACTLY = {"rtol": 0, "atol": 1e-12}
POSITIVE = st.floats(1e-6, 1e6)
INITIAL = torch.cat([dense.random_laws(4, K - 1)[3], torch.zeros(1, dtype=torch.float64)])
RATES = {
    "absorbing": rates.absorbing_rates(K),
    "uniform": rates.uniform_rates(K),
    "of a matrix": rates.rates_of(random_matrices(5)[0]),
}
EVERY = pytest.mark.parametrize("kind", RATES)


def divergence(q: torch.Tensor, p: torch.Tensor) -> float:
    return float((q[q > 0] * (q[q > 0] / p[q > 0]).log()).sum())


def true_scores(marginal: torch.Tensor) -> torch.Tensor:
    """[K, K]; rows that are never met are no numbers, so that reading one would be seen."""
    return torch.stack(
        [
            scores.concrete_scores(marginal, x)
            if marginal[x] > 0
            else torch.full((len(marginal),), math.nan).double()
            for x in range(len(marginal))
        ]
    )


def simpson(values: list[float], width: float) -> float:
    weights = [1.0, *([4.0, 2.0] * (len(values) // 2 - 1)), 4.0, 1.0]
    return sum(w * value for w, value in zip(weights, values, strict=True)) * width / (len(values) - 1) / 3


@given(st.lists(st.tuples(POSITIVE, POSITIVE, st.floats(0.0, 10.0)), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_it_is_its_definition_and_never_negative(entries):
    s, r, w = (torch.tensor(column, dtype=torch.float64) for column in zip(*entries, strict=True))
    expected = sum(b * (x - y * math.log(x) + y * (math.log(y) - 1)) for x, y, b in entries)
    found = float(score_entropy.score_entropy(s, r, w))
    size = float((w * (s + r)).sum())
    assert found == pytest.approx(expected, abs=1e-13 * size * 40) and found >= -1e-15 * size
    assert float(score_entropy.score_entropy(r, r, w)) == 0.0


def test_a_score_close_to_the_truth_keeps_its_digits():
    """(s - r)^2 / (2 r) to leading order: 2.5e-15, of which the definition's three terms leave no digit."""
    r = torch.tensor([2.0], dtype=torch.float64)
    found = float(score_entropy.score_entropy(r + 1e-7, r, torch.ones(1)))
    assert found == pytest.approx(2.5e-15, rel=1e-6, abs=0)


def test_where_nothing_comes_from_the_score_itself_is_the_loss():
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert float(score_entropy.score_entropy(torch.tensor([0.3, 0.0]), zero, one)) == pytest.approx(0.3)
    assert (
        float(score_entropy.score_entropy(zero, one, one)) == math.inf
    )  # and a score of 0 for what happens is fatal


@EVERY
@pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0])
def test_with_true_scores_it_is_how_fast_x_0_is_forgotten(kind, sigma):
    """Minus the slope of KL(q(x_t | x_0) || p_t), by finite differences of fourth order."""
    h = 1e-3

    def told(s: float, x_0: int) -> float:
        matrix = rates.exponential(RATES[kind], s)
        return divergence(matrix[x_0], INITIAL @ matrix)

    to_t = rates.exponential(RATES[kind], sigma)
    for x_0 in range(MASK):
        near, far = (told(sigma + k * h, x_0) - told(sigma - k * h, x_0) for k in (1, 2))
        slope = (8 * near - far) / (12 * h)
        found = score_entropy.integrand(x_0, true_scores(INITIAL @ to_t), to_t, RATES[kind])
        assert found == pytest.approx(-slope, rel=2e-4)
        assert score_entropy.integrand(x_0, true_scores(INITIAL @ to_t), to_t, RATES[kind], 3.0) == pytest.approx(
            3 * found
        )


@EVERY
def test_the_bound_is_the_limit_of_d3pms_with_the_steps_that_wrong_scores_make(kind):
    """KL of paths between two times, in N steps, tends to the integral: first order in 1 / N."""
    size, x_0, start, end = K, 1, 0.3, 1.1
    wrong = 0.5 + torch.rand(K, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def path_divergence(steps: int) -> float:
        width, total = (end - start) / steps, 0.0
        between = rates.exponential(RATES[kind], width)
        for k in range(1, steps + 1):
            to_s = rates.exponential(RATES[kind], start + (k - 1) * width)
            to_t = to_s @ between
            for x_t in range(size):
                if to_t[x_0, x_t] > 0:
                    q = posteriors.bayes(x_t, x_0, to_s, between).law
                    p = scores.euler_step(scores.reverse_rates(wrong[x_t], x_t, RATES[kind]), x_t, width)
                    assert p.is_law
                    total += float(to_t[x_0, x_t]) * divergence(q, p.entries)
        return total

    pieces = 200
    values = [
        score_entropy.integrand(
            x_0, wrong, rates.exponential(RATES[kind], start + (end - start) * k / pieces), RATES[kind]
        )
        for k in range(pieces + 1)
    ]
    integral = simpson(values, end - start)
    gaps = [path_divergence(steps) - integral for steps in (40, 80)]
    assert integral > 0.05 and abs(gaps[1]) < 0.05 * integral and 1.6 < gaps[0] / gaps[1] < 2.4


# A toy joint: texts of two positions as symbols, with noise on each

WORLD = random_world(3, 2)


def joint_rates(single: torch.Tensor) -> torch.Tensor:
    """One position changes at a time: R x I + I x R."""
    eye = torch.eye(len(single), dtype=torch.float64)
    return torch.kron(single, eye) + torch.kron(eye, single)


@pytest.mark.parametrize("kind", ["absorbing", "uniform"])
def test_on_a_toy_joint_the_bound_with_true_scores_is_the_likelihood(kind):
    """-log p(x_0) = integral over sigma + KL of what is left at its end, over all texts; Simpson's rule in
    log(sigma), for at small sigma there is most to see."""
    size = 4 if kind == "absorbing" else 3
    single = rates.absorbing_rates(size) if kind == "absorbing" else rates.uniform_rates(size)
    step = transitions.absorbing if kind == "absorbing" else transitions.uniform
    law = torch.zeros(size, size, dtype=torch.float64)
    law[:3, :3] = WORLD.joint
    law, joint = law.flatten(), joint_rates(single)
    torch.testing.assert_close(
        rates.exponential(joint, 0.7), bounds.jointly(step(-math.expm1(-0.7), size), 2), **EXACTLY
    )
    low, high, pieces = math.log(1e-8), math.log(30.0), 240
    for text in [(0, 1), (2, 2)]:
        x_0, values = text[0] * size + text[1], []
        for k in range(pieces + 1):
            sigma = math.exp(low + (high - low) * k / pieces)
            to_t = bounds.jointly(step(-math.expm1(-sigma), size), 2)
            values.append(sigma * score_entropy.integrand(x_0, true_scores(law @ to_t), to_t, joint))
        left = bounds.jointly(step(-math.expm1(-30.0), size), 2)
        total = simpson(values, high - low) + divergence(left[x_0], law @ left)
        assert total == pytest.approx(-math.log(WORLD.joint[text]), rel=1e-5)


# Without matrices


@pytest.mark.parametrize("name", ["linear", "cosine", "geometric"])
@pytest.mark.parametrize("t", [1e-6, 0.4, 0.999])
def test_the_closed_forms_are_the_dense_integrand(name, t):
    """The dense one is a mean over x_t, so that each x_t is weighted with its probability."""
    schedule, guess = CURVES[name], 0.5 + torch.rand(K, K, generator=torch.Generator().manual_seed(3)).double()
    noised, kept, standing = schedule.noised(t), schedule.alpha(t), torch.arange(K)
    for x_0 in range(MASK):
        clean = torch.full((K,), x_0)
        to_t = transitions.absorbing(noised, K)
        found = score_entropy.absorbing(guess, standing, clean, noised, kept, MASK)
        dense_one = score_entropy.integrand(x_0, guess, to_t, RATES["absorbing"])
        assert float(to_t[x_0] @ found) == pytest.approx(dense_one, rel=1e-9)
        assert (found[:MASK] == 0).all()
        to_t = transitions.uniform(noised, K)
        found = score_entropy.uniform(guess, standing, clean, noised, kept)
        dense_one = score_entropy.integrand(x_0, guess, to_t, RATES["uniform"])
        assert float(to_t[x_0] @ found) == pytest.approx(dense_one, rel=1e-9)


def test_for_masks_it_is_the_formula_of_sedds_code():
    """sum of s - k log s(x_0) + k (log k - 1)."""
    guess, k = torch.tensor([[0.2, 1.5, 0.7, 9.0]], dtype=torch.float64), 0.3 / 0.7
    expected = 2.4 - k * math.log(1.5) + k * (math.log(k) - 1)
    found = score_entropy.absorbing(guess, torch.tensor([3]), torch.tensor([1]), 0.7, 0.3, 3)
    assert float(found) == pytest.approx(expected, rel=1e-13)


def test_for_masks_with_scores_of_a_belief_it_is_the_cross_entropy():
    """s = k p: k times -log p(x_0), and with sigma' that is hazard times -log p: the bound of MDLM."""
    p = dense.random_laws(4, K)[3]
    p = p.index_fill(0, torch.tensor(MASK), 0.0)
    p = p / p.sum()
    schedule, t = CURVES["cosine"], 0.3
    k = schedule.alpha(t) / schedule.noised(t)
    entropy = score_entropy.absorbing(
        (k * p)[None], torch.tensor([MASK]), torch.tensor([2]), schedule.noised(t), schedule.alpha(t), MASK
    )
    assert schedule.beta(t) * float(entropy) == pytest.approx(-schedule.hazard(t) * math.log(p[2]), rel=1e-12)


def test_for_uniform_noise_with_scores_of_a_belief_it_is_the_bound_of_udlm():
    belief, words = dense.random_laws(6, K), torch.ones(K, dtype=torch.bool)
    schedule, t = CURVES["linear"], 0.4
    alpha = schedule.alpha(t)
    for standing, clean in itertools.product(range(K), range(K)):
        here = torch.full((6,), standing)
        posterior = uniform.posterior_from(belief, here, alpha, words)
        found = score_entropy.uniform(
            uniform.scores(posterior, here, alpha, words), here, torch.full((6,), clean), schedule.noised(t), alpha
        )
        expected = uniform.bound_rate(belief, here, torch.full((6,), clean), alpha, schedule.derivative(t), words)
        torch.testing.assert_close(schedule.beta(t) * found, expected, rtol=1e-9, atol=1e-12)


def test_bad_input_is_refused():
    guess, x = torch.ones(1, K), torch.tensor([0])
    for noised, kept in [(0.0, 1.0), (1.1, 0.0), (math.nan, 0.5), (0.5, -0.1)]:
        with pytest.raises(ValueError, match=r"noised must be in \(0, 1\]"):
            score_entropy.absorbing(guess, x, x, noised, kept, MASK)
        with pytest.raises(ValueError, match=r"noised must be in \(0, 1\]"):
            score_entropy.uniform(guess, x, x, noised, kept)
    with pytest.raises(ValueError, match="x_0 must be 0 to 4, not 5"):
        score_entropy.integrand(5, torch.ones(K, K), torch.eye(K), RATES["uniform"])
