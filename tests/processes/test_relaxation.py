"""The softmax on its way to argmax, and its gradient on its way to nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes.relaxation import concrete, jacobian, jacobian_norm, shifted, tempered

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


def test_the_largest_entry_of_a_concrete_draw_has_the_law_of_the_softmax_at_every_temperature():
    """Chi-squared with 3 degrees of freedom: above 30 by chance once in 700,000 times; the seed is fixed."""
    logits = torch.tensor([1.0, 0.2, -0.5, 0.9], dtype=torch.float64)
    uniforms = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 20_000 * torch.softmax(logits, -1)
    for temperature in (0.0, 0.1, 1.0, 5.0):
        draws = concrete(logits, temperature, uniforms)
        torch.testing.assert_close(draws.sum(-1), torch.ones(20_000, dtype=torch.float64))
        counts = torch.bincount(draws.argmax(-1), minlength=4)
        assert ((counts - expected) ** 2 / expected).sum() < 30
    assert (concrete(logits, 0.0, uniforms).amax(-1) == 1.0).all()
    assert concrete(logits, 5.0, uniforms).amax(-1).mean() < 0.6
    assert concrete(logits, 1.0, torch.zeros(1, 4).double()).isfinite().all()


def test_a_shift_is_the_sum_of_two_symbols_modulo_k():
    base, shift = (torch.tensor(law, dtype=torch.float64) for law in ([0.5, 0.3, 0.2], [0.1, 0.7, 0.2]))
    brute = [0.0] * 3
    for x in range(3):
        for k in range(3):
            brute[(x + k) % 3] += float(base[x] * shift[k])
    assert shifted(base, shift).tolist() == pytest.approx(brute, abs=1e-15)
    assert shifted(base, torch.tensor([0.0, 1.0, 0.0])).tolist() == pytest.approx([0.2, 0.5, 0.3])
    with pytest.raises(ValueError, match="same K"):
        shifted(base, torch.ones(4) / 4)
