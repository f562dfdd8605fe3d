"""The bounds against enumeration of everything that can happen: all noisy paths, all orders, all masks."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import betas, bounds, chains, posteriors, transitions
from ddemo.processes.curves import CURVES
from tests.processes.test_chains import random_matrices
from tests.processes.test_exact import random_world

EXACTLY = {"rtol": 0, "atol": 1e-12}
SMOOTH = [name for name, schedule in CURVES.items() if schedule.derivative]


def by_paths(x_0: int, matrices: torch.Tensor, reverse: torch.Tensor, prior: torch.Tensor) -> float:
    """E over q(x_1 .. x_T | x_0) of log q(x_1 .. x_T | x_0) - log p(x_0 .. x_T), path by path."""
    steps, size = len(matrices), len(prior)
    total = 0.0
    for path in itertools.product(range(size), repeat=steps):
        whole = (x_0, *path)
        q = math.prod(float(matrices[k, whole[k], whole[k + 1]]) for k in range(steps))
        if q > 0.0:
            p = prior[whole[-1]] * math.prod(float(reverse[k, whole[k + 1], whole[k]]) for k in range(steps))
            total += q * (math.log(q) - math.log(p))
    return total


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_d3pms_bound_is_the_expectation_over_all_paths(seed):
    matrices, reverse = random_matrices(seed, 4, 3), random_matrices(seed + 1, 4, 3)
    prior = random_matrices(seed + 2, 1, 3)[0, 0]
    terms = bounds.variational_bound(1, matrices, reverse, prior)
    assert len(terms.steps) == 3 and (terms.steps >= 0).all() and terms.prior >= 0
    assert terms.total == pytest.approx(by_paths(1, matrices, reverse, prior), rel=1e-10)


def test_each_term_is_the_divergence_that_it_is_called():
    """Term k by Bayes' rule with the dense posterior, one x_k after the other."""
    matrices, reverse, x_0 = random_matrices(0, 4), random_matrices(1, 4), 2
    prior, bars = random_matrices(2)[0, 0], chains.products(random_matrices(0, 4))
    terms = bounds.variational_bound(x_0, matrices, reverse, prior)
    for k in range(2, 5):
        expected = 0.0
        for x_k in range(5):
            q = posteriors.bayes(x_k, x_0, bars[k - 1], matrices[k - 1]).law
            expected += bars[k, x_0, x_k] * (q * (q / reverse[k - 1, x_k]).log()).sum()
        assert float(terms.steps[k - 2]) == pytest.approx(float(expected), rel=1e-12)
    assert terms.prior == pytest.approx(float((bars[4, x_0] * (bars[4, x_0] / prior).log()).sum()), rel=1e-12)
    assert terms.reconstruction == pytest.approx(float(-(bars[1, x_0] * reverse[0, :, x_0].log()).sum()), rel=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_with_the_true_reverse_the_bound_is_the_likelihood(seed):
    matrices, initial = random_matrices(seed, 3), random_matrices(seed + 1)[0, 0]
    bars = chains.products(matrices)
    reverse = torch.stack(
        [
            posteriors.joint_weighted(initial.expand(5, 5), torch.arange(5), bar, matrix)
            for bar, matrix in zip(bars[:-1], matrices, strict=True)
        ]
    )
    for x_0 in range(5):
        terms = bounds.variational_bound(x_0, matrices, reverse, initial @ bars[-1])
        assert terms.total == pytest.approx(-math.log(initial[x_0]), rel=1e-9)


def test_a_model_that_excludes_what_happens_has_an_infinite_bound():
    matrices = random_matrices(0, 2, 3)
    prior = torch.tensor([1.0, 0.0, 0.0])
    assert bounds.variational_bound(0, matrices, matrices, prior).total == math.inf


# A toy joint: two positions of two words and the mask, so that texts are nine symbols

WORLD = random_world(2, 2)
TEXTS = list(itertools.product(range(3), repeat=2))


def masked_reverse(noised: torch.Tensor) -> torch.Tensor:
    """[T, 9, 9]: each mask by itself stays, or becomes a word of the world's conditional; a word stays."""
    reverse = torch.zeros(len(noised) - 1, 9, 9, dtype=torch.float64)
    for k in range(1, len(noised)):
        stay = float(noised[k - 1] / noised[k])
        for row, text in enumerate(TEXTS):
            seen = torch.tensor(text)
            p = WORLD.given(seen, seen == 2)
            for column, before in enumerate(TEXTS):
                law = 1.0
                for i in range(2):
                    if text[i] != 2:
                        law *= float(before[i] == text[i])
                    else:
                        law *= stay if before[i] == 2 else (1 - stay) * float(p[i, before[i]])
                reverse[k - 1, row, column] = law
    return reverse


@pytest.mark.parametrize("name", ["linear", "cosine", "quadratic"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_terms_for_masks_are_those_of_the_dense_bound_and_of_all_paths(name, steps):
    noised = betas.noised_of(betas.of_schedule(CURVES[name], steps))
    single = transitions.absorbing(betas.of_schedule(CURVES[name], steps), 3)
    matrices = torch.stack([bounds.jointly(matrix, 2) for matrix in single])
    reverse, prior = masked_reverse(noised), torch.eye(9, dtype=torch.float64)[-1]
    for text in [(0, 0), (1, 0), (0, 1)]:
        surprise = bounds.surprise_by_count(torch.tensor(text), WORLD.given)
        terms = bounds.mask_terms(surprise, noised)
        dense = bounds.variational_bound(TEXTS.index(text), matrices, reverse, prior)
        assert dense.prior == pytest.approx(0.0, abs=1e-15)
        torch.testing.assert_close(terms[1:], dense.steps, **EXACTLY)
        assert float(terms[0]) == pytest.approx(dense.reconstruction, rel=1e-12)
        if steps < 3:
            assert float(terms.sum()) == pytest.approx(
                by_paths(TEXTS.index(text), matrices, reverse, prior), rel=1e-10
            )


def test_noise_of_a_text_is_that_of_its_tokens():
    joint, single = bounds.jointly(transitions.uniform(0.4, 3), 2), transitions.uniform(0.4, 3)
    for row, text in enumerate(TEXTS):
        for column, after in enumerate(TEXTS):
            assert float(joint[row, column]) == pytest.approx(
                float(single[text[0], after[0]] * single[text[1], after[1]])
            )


# The limit


def uneven(texts: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """A model of three words that is not consistent with any joint: its bound depends on the order."""
    seen = torch.where(masks, 0, texts + 1).sum(-1, keepdim=True).double()
    place = torch.arange(texts.shape[1], dtype=torch.float64)
    words = torch.arange(3, dtype=torch.float64)
    return torch.softmax(torch.sin(seen[..., None] + place[:, None] * 1.7 + words * 2.3), -1).expand(*texts.shape, 3)


def by_orders(x_0: tuple[int, ...], believe) -> float:
    """The mean over all orders of writing of the summed -log p of each token given those before."""
    costs = []
    for order in itertools.permutations(range(len(x_0))):
        masks = torch.ones(1, len(x_0), dtype=torch.bool)
        cost = 0.0
        for i in order:
            cost -= math.log(believe(torch.tensor([x_0]), masks)[0, i, x_0[i]])
            masks[0, i] = False
        costs.append(cost)
    return sum(costs) / len(costs)


@pytest.mark.parametrize("x_0", [(0,), (2, 1), (0, 1, 2), (1, 1, 0, 2)])
def test_the_limit_is_the_mean_over_all_orders(x_0):
    surprise = bounds.surprise_by_count(torch.tensor(x_0), uneven)
    assert bounds.mask_bound(surprise) == pytest.approx(by_orders(x_0, uneven), rel=1e-12)


@pytest.mark.parametrize("text", [(0, 1, 2, 1), (2, 2, 2, 2)])
def test_for_the_worlds_own_conditionals_it_is_the_likelihood(text):
    world = random_world(3, 4)
    surprise = bounds.surprise_by_count(torch.tensor(text), world.given)
    assert bounds.mask_bound(surprise) == pytest.approx(-math.log(world.joint[text]), rel=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_limit_is_the_integral_of_the_integrand_whatever_the_schedule(name):
    """By Gauss-Legendre in u = 1 - alpha, where dt = du / -alpha', from the schedule's own beginning to its end."""
    surprise, schedule = bounds.surprise_by_count(torch.tensor([1, 0, 2]), uneven), CURVES[name]
    nodes = [(1 - math.sqrt(0.6)) / 2, 0.5, (1 + math.sqrt(0.6)) / 2]  # exact for polynomials of degree five
    low, high = schedule.noised(0.0), schedule.noised(1.0)
    total = 0.0
    for node, weight in zip(nodes, (5 / 18, 8 / 18, 5 / 18), strict=True):
        t = schedule.time_at(1.0 - (low + (high - low) * node))
        total += weight * (high - low) * bounds.mask_integrand(surprise, schedule, t) / -schedule.derivative(t)
    slack = 2e-4 if name in ("geometric", "constant-rate") else 1e-9  # which begin or end a little off
    assert total == pytest.approx(bounds.mask_bound(surprise), rel=slack)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_the_integrand_is_the_weighted_mean_over_all_masks(name, t):
    schedule, x_0 = CURVES[name], torch.tensor([1, 0, 2])
    u, mean = schedule.noised(t), 0.0
    for mask in itertools.product((False, True), repeat=3):
        masks = torch.tensor([mask])
        p = uneven(x_0[None], masks)[0, torch.arange(3), x_0]
        mean += u ** sum(mask) * (1 - u) ** (3 - sum(mask)) * float(-(p.log() * masks[0]).sum())
    found = bounds.mask_integrand(bounds.surprise_by_count(x_0, uneven), schedule, t)
    assert found == pytest.approx(schedule.hazard(t) * mean, rel=1e-10)


def test_the_integrand_is_finite_at_both_ends_of_time():
    """At t = 0 one token alone is masked, -alpha'(0) L c_1; just after, its weight is 1e300."""
    surprise = bounds.surprise_by_count(torch.tensor([1, 0, 2]), uneven)
    for t in (0.0, 1e-300):
        assert bounds.mask_integrand(surprise, CURVES["linear"], t) == pytest.approx(
            3 * float(surprise[1]), rel=1e-12
        )
    assert bounds.mask_integrand(surprise, CURVES["linear"], 1.0) == pytest.approx(float(surprise[3]), rel=1e-12)
    assert bounds.mask_integrand(surprise, CURVES["cosine"], 0.0) == 0.0


def test_discrete_steps_tend_to_the_limit():
    surprise = bounds.surprise_by_count(torch.tensor([1, 0, 2]), uneven)
    limit = bounds.mask_bound(surprise)
    for name in ("linear", "cosine"):
        gaps = []
        for steps in (50, 100, 200):
            noised = betas.noised_of(betas.of_schedule(CURVES[name], steps))
            gaps.append(float(bounds.mask_terms(surprise, noised).sum()) - limit)
        assert abs(gaps[2]) < 0.05 and 1.8 < gaps[0] / gaps[1] < 2.2 and 1.8 < gaps[1] / gaps[2] < 2.2


def test_bad_input_is_refused():
    surprise = bounds.surprise_by_count(torch.tensor([1, 0]), uneven)
    with pytest.raises(ValueError, match=r"t must be in \[0, 1\]"):
        bounds.mask_integrand(surprise, CURVES["linear"], 1.1)
    with pytest.raises(ValueError, match="no derivative"):
        bounds.mask_integrand(surprise, CURVES["d3pm-linear"], 0.5)
    for noised in ([0.1, 1.0], [0.0, 0.0, 1.0], [0.0, 0.6, 0.5], [0.0, 1.1], [0.0, math.nan]):
        with pytest.raises(ValueError, match="noised must be"):
            bounds.mask_terms(surprise, torch.tensor(noised))
    with pytest.raises(ValueError, match="x_0 must have 1 to 14 positions, not 15"):
        bounds.surprise_by_count(torch.zeros(15, dtype=torch.int64), uneven)
    with pytest.raises(ValueError, match="x_0 must be 0 to 2, not 3"):
        bounds.variational_bound(3, random_matrices(0, 2, 3), random_matrices(0, 2, 3), torch.ones(3) / 3)
    with pytest.raises(ValueError, match="reverse must be"):
        bounds.variational_bound(0, random_matrices(0, 2, 3), random_matrices(0, 1, 3), torch.ones(3) / 3)
