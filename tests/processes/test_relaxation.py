"""The softmax on its way to argmax, and its gradient on its way to nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes.relaxation import jacobian, jacobian_norm, tempered

LOGITS = st.lists(st.floats(-20.0, 20.0), min_size=2, max_size=7).map(lambda x: torch.tensor(x, dtype=torch.float64))


@given(LOGITS, st.floats(0.05, 20.0))
@settings(max_examples=60, deadline=None)
def test_the_jacobian_is_that_of_autograd_and_its_norm_the_closed_form(logits, temperature):
    traced = torch.autograd.functional.jacobian(lambda x: torch.softmax(x / temperature, -1), logits)
    found = jacobian(logits, temperature)
    torch.testing.assert_close(found, traced, rtol=1e-9, atol=1e-13)
    assert float(jacobian_norm(logits, temperature)) == pytest.approx(float(found.norm()), rel=1e-12)
    torch.testing.assert_close(found.sum(-1), torch.zeros(len(logits)).double(), rtol=0, atol=1e-12)


def test_two_logits_by_hand():
    """p (1 - p) / T in all four places: the norm is twice that."""
    logits, temperature = torch.tensor([0.0, math.log(3.0)], dtype=torch.float64), 1.0
    assert tempered(logits, temperature).tolist() == pytest.approx([0.25, 0.75], rel=1e-15)
    assert float(jacobian_norm(logits, temperature)) == pytest.approx(2 * 3 / 16, rel=1e-15)


def test_the_gradient_vanishes_as_argmax_comes_near_and_keeps_its_digits():
    """A gap of 1 at T = 0.01: p is e^-100 from one-hot, the norm 2 e^-100 / T, which 1 - p p^T would call 0."""
    logits = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert float(jacobian_norm(logits, 0.01)) == pytest.approx(200.0 * math.exp(-100.0), rel=1e-12, abs=0)
    assert float(jacobian(logits, 0.01).norm()) == pytest.approx(200.0 * math.exp(-100.0), rel=1e-12, abs=0)
    norms = [float(jacobian_norm(logits, t)) for t in (0.3, 0.1, 0.03, 0.01, 0.003)]
    assert norms == sorted(norms, reverse=True) and norms[-1] < 1e-100
    assert float(jacobian_norm(logits, 100.0)) < 0.01  # and at the other end, where p does not move


def test_between_equals_it_grows_instead():
    logits = torch.tensor([2.0, 2.0, 0.0], dtype=torch.float64)
    assert float(jacobian_norm(logits, 1e-3)) == pytest.approx(0.5 / 1e-3, rel=1e-12)


@given(LOGITS)
@settings(max_examples=60, deadline=None)
def test_the_limit_is_argmax_shared_by_equals(logits):
    best = (logits == logits.max()).double()
    assert torch.equal(tempered(logits, 0.0), best / best.sum())
    gaps = logits.max() - logits[logits < logits.max()]
    if len(gaps) and gaps.min() > 1e-3:
        torch.testing.assert_close(tempered(logits, 1e-5), best / best.sum(), rtol=0, atol=1e-12)


def test_rows_are_worked_on_together_and_minus_infinity_is_no_word():
    logits = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    logits[..., 2] = -torch.inf
    p, norms = tempered(logits, 0.7), jacobian_norm(logits, 0.7)
    assert p.dtype == torch.float64 and (p[..., 2] == 0).all() and norms.shape == (3, 4)
    assert float(norms[1, 2]) == pytest.approx(float(jacobian(logits[1, 2], 0.7).norm()), rel=1e-12)
    assert torch.isfinite(tempered(torch.tensor([1e6, -1e6]), 1e-6)).all()


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_bad_input_is_refused(bad):
    logits = torch.zeros(3)
    with pytest.raises(ValueError, match="temperature must be a number of at least 0"):
        tempered(logits, bad)
    for ask in (jacobian, jacobian_norm):
        for temperature in (bad, 0.0):
            with pytest.raises(ValueError, match="temperature must be a positive number"):
                ask(logits, temperature)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="logits must be numbers"):
            tempered(torch.tensor([0.0, value]), 1.0)
