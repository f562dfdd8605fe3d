"""Products, states and stationary laws against power iteration, exact fractions and random matrices."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.processes import chains, transitions
from ddemo.processes.rates import rates_of
from ddemo.processes.validation import stochastic_matrix

EXACTLY = {"rtol": 0, "atol": 1e-12}


def random_matrices(seed: int, count: int = 4, size: int = 5) -> torch.Tensor:
    matrices = torch.rand(count, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return matrices / matrices.sum(-1, keepdim=True)


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_products_states_and_between_agree(seed, first, second):
    matrices, (s, t) = random_matrices(seed), sorted((first, second))
    bars = chains.products(matrices)
    torch.testing.assert_close(bars[4], matrices[0] @ matrices[1] @ matrices[2] @ matrices[3], **EXACTLY)
    torch.testing.assert_close(bars[s] @ chains.between(matrices, s, t), bars[t], **EXACTLY)
    law = matrices[0, 0]
    torch.testing.assert_close(chains.states(law, matrices), law @ bars, **EXACTLY)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_stationary_law_is_left_as_it_is_and_is_where_powers_go(seed):
    matrix = random_matrices(seed)[0]
    law = chains.stationary(matrix)
    torch.testing.assert_close(law @ matrix, law, **EXACTLY)
    torch.testing.assert_close(law.expand(5, 5), torch.linalg.matrix_power(matrix, 4096), rtol=0, atol=1e-8)
    torch.testing.assert_close(chains.stationary(rates_of(matrix)), law, **EXACTLY)


def test_the_stationary_laws_of_each_noise():
    even = torch.full((4,), 0.25, dtype=torch.float64)
    mask = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(chains.stationary(transitions.uniform(0.1, 4)), even, **EXACTLY)
    torch.testing.assert_close(chains.stationary(transitions.gaussian(0.5, 4)), even, **EXACTLY)
    assert torch.equal(chains.stationary(transitions.absorbing(0.1, 4)), mask)
    assert torch.equal(chains.stationary(transitions.hybrid(0.01, 0.3, 4)), mask)


def test_a_stationary_law_with_exact_fractions_and_tiny_entries():
    """A walk 0 - 1 - 2 that steps down with probability 1/2 and up with e: pi ~ 1, 2e, 4e^2."""
    e = Fraction(1, 2**40)
    rows = [[1 - e, e, 0], [Fraction(1, 2), Fraction(1, 2) - e, e], [0, Fraction(1, 2), Fraction(1, 2)]]
    matrix = torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)
    weights = [Fraction(1), 2 * e, 4 * e * e]
    expected = [float(w / sum(weights)) for w in weights]
    assert chains.stationary(matrix).tolist() == pytest.approx(expected, rel=1e-14, abs=0)


def test_a_cycle_has_a_stationary_law_though_its_powers_go_nowhere():
    cycle = torch.eye(3, dtype=torch.float64).roll(1, 1)
    torch.testing.assert_close(chains.stationary(cycle), torch.full((3,), 1 / 3, dtype=torch.float64), **EXACTLY)


def test_symbols_that_never_meet_have_a_law_each():
    """0 and 1 swap, 3 stays, 2 goes to either."""
    matrix = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0.2, 0, 0.5, 0.3], [0, 0, 0, 1]], dtype=torch.float64)
    assert chains.closed_classes(matrix) == [[0, 1], [3]]
    assert chains.stationary_laws(matrix).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0, 1]]
    with pytest.raises(ValueError, match="must have one stationary distribution, and has 2"):
        chains.stationary(matrix)
    assert len(chains.stationary_laws(torch.eye(3, dtype=torch.float64))) == 3


def test_a_long_chain_is_followed_to_its_end():
    """Reachability has to be carried over as many steps as there are symbols."""
    chain = torch.eye(40, dtype=torch.float64).roll(1, 1)
    chain[-1] = torch.eye(40, dtype=torch.float64)[-1]
    assert chains.closed_classes(chain) == [[39]]


def test_total_variation():
    a, b = torch.tensor([[0.5, 0.5, 0], [1, 0, 0]]), torch.tensor([[0.5, 0, 0.5], [0, 0.5, 0.5]])
    assert chains.total_variation(a, b).tolist() == [0.5, 1.0] and chains.total_variation(a, a).max() == 0


def test_steps_out_of_range_are_refused():
    for s, t in [(2, 1), (-1, 1), (0, 5)]:
        with pytest.raises(ValueError, match="0 <= s <= t <= 4"):
            chains.between(random_matrices(0), s, t)


def test_a_users_own_matrix_runs_as_any_other():
    own = stochastic_matrix([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.3, 0.0, 0.7]])
    weights = [Fraction(6), Fraction(3), Fraction(2)]  # flow 0.1 pi_0 = 0.2 pi_1 = 0.3 pi_2
    assert chains.stationary(own).tolist() == pytest.approx([float(w / 11) for w in weights], rel=1e-14)
