"""How much noise leaves: counts of masks and mutual information, against enumeration and exact fractions."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import LINEAR, information, transitions
from ddemo.processes.curves import CURVES
from tests.processes.dense import random_laws

LAWS = random_laws(6, 5)
NOISE = st.floats(0.0, 1.0)


def by_entropies(initial, transition):
    """H(x_0) + H(x_t) - H(x_0, x_t)."""
    joint = initial[:, None] * transition
    entropy = [-(p[p > 0] * p[p > 0].log()).sum().item() for p in (initial, joint.sum(0), joint)]
    return entropy[0] + entropy[1] - entropy[2]


def test_the_number_of_masks_is_binomial():
    law = information.noised_counts(LINEAR, 0.25, 5)
    expected = [math.comb(5, n) * Fraction(1, 4) ** n * Fraction(3, 4) ** (5 - n) for n in range(6)]
    assert law.tolist() == pytest.approx([float(p) for p in expected], rel=1e-14)
    assert float(law @ torch.arange(6, dtype=torch.float64)) == pytest.approx(
        information.expected_masks(LINEAR, 0.25, 5)
    )


def test_the_number_of_masks_at_both_ends_and_close_to_them():
    assert information.noised_counts(LINEAR, 0.0, 3).tolist() == [1, 0, 0, 0]
    assert information.noised_counts(LINEAR, 1.0, 3).tolist() == [0, 0, 0, 1]
    early = information.noised_counts(CURVES["cosine"], 1e-12, 3)
    u = math.pi**2 / 8 * 1e-24
    assert early.tolist() == pytest.approx([1.0, 3 * u, 3 * u**2, u**3], rel=1e-12, abs=0)
    assert float(information.noised_counts(LINEAR, 0.5, 300).sum()) == pytest.approx(1.0, rel=1e-12)


def test_under_uniform_noise_a_drawn_word_may_be_the_old_one():
    x = torch.eye(5, dtype=torch.float64)[2]
    changed = 1 - (x @ transitions.uniform(LINEAR.noised(0.4), 5))[2].item()
    assert information.expected_changes(LINEAR, 0.4, 10, 5) == pytest.approx(10 * changed, rel=1e-14)


@pytest.mark.parametrize("initial", LAWS)
@given(noise=NOISE)
@settings(max_examples=15, deadline=None)
def test_mutual_information_is_that_of_the_joint(initial, noise):
    for kind in (transitions.absorbing, transitions.uniform):
        matrix = kind(noise, 5)
        found = information.mutual_information(initial, matrix)
        assert found == pytest.approx(by_entropies(initial, matrix), abs=1e-12) and found >= 0.0
    closed = information.uniform_information(initial, 1.0 - noise)
    assert closed == pytest.approx(by_entropies(initial, transitions.uniform(noise, 5)), abs=1e-12)


@given(NOISE)
@settings(max_examples=30, deadline=None)
def test_for_masks_it_is_alpha_times_the_entropy(alpha):
    initial = torch.cat([LAWS[3], torch.zeros(1, dtype=torch.float64)])
    found = information.mutual_information(initial, transitions.absorbing(1.0 - alpha, 6))
    assert found == pytest.approx(information.absorbing_information(LAWS[3], alpha), abs=1e-12)


def test_it_keeps_its_digits_when_little_is_left():
    """To second order uniform noise leaves K alpha^2 / 2 (sum of p (1 - p)), of which entropies would see nothing."""
    initial, alpha = LAWS[4], 1e-8
    expected = 5 * alpha**2 / 2 * float((initial * (1 - initial)).sum())
    assert by_entropies(initial, transitions.uniform(1 - alpha, 5)) != pytest.approx(expected, rel=0.1, abs=0)
    assert information.uniform_information(initial, alpha) == pytest.approx(expected, rel=1e-5, abs=0)
    assert information.mutual_information(initial, transitions.uniform(1 - alpha, 5)) == pytest.approx(
        expected, rel=1e-6
    )


def test_the_closed_form_takes_a_vocabulary():
    weights = torch.rand(50_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    initial = weights / weights.sum()
    whole = float(information.entropy(initial))
    assert information.uniform_information(initial, 1.0) == pytest.approx(whole, rel=1e-9)
    assert 0.0 < information.uniform_information(initial, 0.3) < 0.3 * whole
    assert information.uniform_information(initial, 0.0) == pytest.approx(0.0, abs=1e-15)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"t must be in \[0, 1\]"):
        information.noised_counts(LINEAR, 1.5, 3)
    with pytest.raises(ValueError, match="length must not be negative"):
        information.noised_counts(LINEAR, 0.5, -1)
    with pytest.raises(ValueError, match="initial must have 3 probabilities"):
        information.mutual_information(torch.tensor([0.5, 0.5]), torch.eye(3))
    with pytest.raises(ValueError, match="must sum to 1, not to"):
        information.uniform_information(torch.tensor([0.6, 0.6]), 0.5)


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.3, 0.99, 1.0])
def test_expected_hybrid_counts_are_those_of_the_transition(t):
    masks, others = information.expected_hybrid(LINEAR, t, 7, 4)
    law = transitions.hybrid(*transitions.half_each(LINEAR.noised(t)), 5)[0]  # from one of four words and the mask
    assert masks == pytest.approx(7 * float(law[4]), rel=1e-12, abs=1e-300)
    assert others == pytest.approx(7 * float(law[1:4].sum()), rel=1e-12, abs=1e-300)
