"""Bayes' rule against enumeration of paths, and the closed forms without matrices against the dense ones."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import absorbing, posteriors, transitions, uniform
from ddemo.processes.curves import CURVES
from tests.processes import dense
from tests.processes.test_chains import random_matrices

K, MASK = 5, 4
EXACTLY = {"rtol": 0, "atol": 1e-12}
BELIEFS = dense.random_laws(6, K)
SEEN = torch.tensor([0, 1, 2, 3, 4, 2])
CURVE = pytest.mark.parametrize("name", CURVES)
# also where 1 - alpha is 1e-20 and where alpha is
TIMES = pytest.mark.parametrize(
    "t, s", [(1.0, 0.5), (0.6, 0.3), (0.5, 0.499), (1e-6, 5e-7), (1 - 1e-9, 0.9), (0.4, 0.0)]
)


def step(name: str, t: float, s: float, kind) -> tuple[torch.Tensor, torch.Tensor]:
    """q(x_s | x_0) and q(x_t | x_s) from noise that was never subtracted from one."""
    return kind(CURVES[name].noised(s), K), kind(CURVES[name].lost(t, s), K)


def test_bayes_in_exact_fractions():
    """Uniform noise over 3, alpha_s = 1/2, alpha_t = 1/4: every number of the rule by hand."""
    to_s, between = transitions.uniform(0.5, 3), transitions.uniform(0.5, 3)
    found = posteriors.bayes(1, 0, to_s, between)
    likelihood = [Fraction(1, 6), Fraction(2, 3), Fraction(1, 6)]
    prior = [Fraction(2, 3), Fraction(1, 6), Fraction(1, 6)]
    product = [a * b for a, b in zip(likelihood, prior, strict=True)]
    assert sum(product) == Fraction(1, 4)  # q(x_t | x_0) = (1 - alpha_t) / 3
    assert found.likelihood.tolist() == pytest.approx([float(x) for x in likelihood], rel=1e-15)
    assert found.prior.tolist() == pytest.approx([float(x) for x in prior], rel=1e-15)
    assert found.product.tolist() == pytest.approx([float(x) for x in product], rel=1e-15)
    assert found.normaliser == pytest.approx(0.25, rel=1e-15)
    assert found.law.tolist() == pytest.approx([4 / 9, 4 / 9, 1 / 9], rel=1e-15)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_reverse_laws_by_enumeration_of_random_matrices(seed):
    to_s, between = random_matrices(seed, 2)
    p = random_matrices(seed + 1, 1)[0][[0, 1, 2, 3, 4, 0]]
    mean = posteriors.mean_posterior(p, SEEN, to_s, between)
    joint = posteriors.joint_weighted(p, SEEN, to_s, between)
    plugged = posteriors.plug_in(p, SEEN, to_s, between)
    for row, seen in enumerate(SEEN.tolist()):
        torch.testing.assert_close(mean[row], dense.mean_posterior(p[row], seen, to_s, between), **EXACTLY)
        torch.testing.assert_close(joint[row], dense.joint_weighted(p[row], seen, to_s, between), **EXACTLY)
        best = posteriors.bayes(seen, int(p[row].argmax()), to_s, between).law
        torch.testing.assert_close(plugged[row], best, **EXACTLY)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_with_its_own_belief_either_form_is_the_true_reverse(seed):
    """By Bayes on the joint law of x_0, x_s and x_t, all K^3 of them."""
    to_s, between = random_matrices(seed, 2)
    initial = random_matrices(seed + 1, 1)[0][0]
    joint = initial[:, None, None] * to_s[:, :, None] * between
    truth = (joint.sum(0) / joint.sum((0, 1))).mT  # [x_t, x_s]
    everything = torch.arange(K)
    seen = posteriors.posterior(initial, to_s @ between)
    torch.testing.assert_close(posteriors.mean_posterior(seen, everything, to_s, between), truth, **EXACTLY)
    unseen = initial.expand(K, K)
    torch.testing.assert_close(posteriors.joint_weighted(unseen, everything, to_s, between), truth, **EXACTLY)


def test_fed_with_each_others_belief_they_differ():
    to_s, between = transitions.uniform(0.4, K), transitions.uniform(0.5, K)
    seen = posteriors.posterior(BELIEFS[3], to_s @ between)[SEEN]
    right = posteriors.mean_posterior(seen, SEEN, to_s, between)
    wrong = posteriors.joint_weighted(seen, SEEN, to_s, between)
    assert (0.5 * (right - wrong).abs().sum(-1)).max() > 0.05


# Without matrices


@TIMES
@CURVE
def test_masks_need_no_matrix(name, t, s):
    to_s, between = step(name, t, s, transitions.absorbing)
    standing = torch.full((6,), MASK)
    p = torch.cat([dense.random_laws(6, K - 1), torch.zeros(6, 1, dtype=torch.float64)], 1)
    closed = absorbing.mean_posterior(p, standing, CURVES[name].stay(t, s), MASK)
    torch.testing.assert_close(closed, posteriors.mean_posterior(p, standing, to_s, between), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(closed, posteriors.joint_weighted(p, standing, to_s, between), rtol=1e-9, atol=1e-12)


def test_a_word_stays_itself_and_a_mask_of_known_x_0_is_q():
    words = torch.eye(K, dtype=torch.float64)[:MASK]
    assert torch.equal(absorbing.mean_posterior(words, torch.arange(MASK), 0.3, MASK), words)
    to_s, between = transitions.absorbing(0.2, K), transitions.absorbing(0.5, K)
    for x_0 in range(MASK):
        closed = absorbing.mean_posterior(words[x_0, None], torch.tensor([MASK]), 0.2 / 0.6, MASK)
        torch.testing.assert_close(closed[0], posteriors.bayes(MASK, x_0, to_s, between).law, **EXACTLY)


@TIMES
@CURVE
def test_uniform_noise_needs_no_matrix(name, t, s):
    """The closed form is given alpha, which near t = 0 is one but for the last bits: it is 1e-9 precise there."""
    to_s, between = step(name, t, s, transitions.uniform)
    words, alphas = torch.ones(K, dtype=torch.bool), (CURVES[name].alpha(t), CURVES[name].alpha(s))
    near = {"rtol": 0, "atol": 1e-12 if t > 1e-3 else 2e-3}
    if alphas[0] < 1.0:
        for form in ("mean_posterior", "joint_weighted"):
            closed = getattr(uniform, form)(BELIEFS, SEEN, *alphas, words)
            torch.testing.assert_close(closed, getattr(posteriors, form)(BELIEFS, SEEN, to_s, between), **near)


@pytest.mark.parametrize("power", [1, 3])
def test_near_the_start_the_posterior_has_a_limit_and_the_dense_form_reaches_it(power):
    """Linear alpha, s = t / 2 and t down to 1e-15: the odds of x_0 != x_t having changed before s are even."""
    t = 10.0 ** (-5 * power)
    to_s, between = transitions.uniform(t / 2, K), transitions.uniform((t / 2) / (1 - t / 2), K)
    law = posteriors.bayes(1, 0, to_s, between).law
    torch.testing.assert_close(law[:2], torch.full((2,), 0.5, dtype=torch.float64), rtol=0, atol=10 * t)


def test_an_argmax_is_one_hot_and_takes_the_first_of_equals():
    p = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    assert posteriors.one_hot_argmax(p).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_what_cannot_be_is_refused():
    to_s, between = transitions.absorbing(0.2, K), transitions.absorbing(0.5, K)
    with pytest.raises(ValueError, match="x_0 = 1 must be able to turn into x_t = 0, and cannot"):
        posteriors.bayes(0, 1, to_s, between)
    with pytest.raises(ValueError, match="p must be 0 at x_0 = 1, which cannot turn into x_t = 0"):
        posteriors.mean_posterior(torch.tensor([[0.5, 0.5, 0, 0, 0]]), torch.tensor([0]), to_s, between)
    with pytest.raises(ValueError, match="x_0 = 1, which cannot turn into x_t = 0"):
        posteriors.plug_in(torch.tensor([[0.4, 0.6, 0, 0, 0]]), torch.tensor([0]), to_s, between)
    with pytest.raises(ValueError, match="x_t = 0 must be possible under p"):
        posteriors.joint_weighted(torch.tensor([[0, 1.0, 0, 0, 0]]), torch.tensor([0]), to_s, between)
    for x_t, x_0 in [(5, 0), (0, -1)]:
        with pytest.raises(ValueError, match="must be 0 to 4"):
            posteriors.bayes(x_t, x_0, to_s, between)
    with pytest.raises(ValueError, match="p must sum to 1"):
        posteriors.mean_posterior(torch.full((1, 5), 0.1), torch.tensor([0]), to_s, between)
    with pytest.raises(ValueError, match="p must be 0 at the mask"):
        absorbing.mean_posterior(torch.eye(K)[4:], torch.tensor([4]), 0.5, MASK)
    with pytest.raises(ValueError, match=r"stay must be in \[0, 1\], not nan"):
        absorbing.mean_posterior(torch.eye(K)[:1], torch.tensor([4]), float("nan"), MASK)
