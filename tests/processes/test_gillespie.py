"""Simulated paths against the exact law, with their false-alarm probability."""

import math

import pytest
import torch

from ddemo.processes import rates
from ddemo.processes.curves import CURVES
from ddemo.processes.gillespie import Path, in_time, share_error, shares, simulate
from tests.processes.test_chains import random_matrices

PATHS = 3000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["absorbing", "uniform", "of a matrix"])
def test_where_paths_are_is_the_law_of_the_exponential(kind):
    """Chi-squared with 3 degrees of freedom: above 30 by chance once in 700,000 times; the seed is fixed."""
    rate = {
        "absorbing": rates.absorbing_rates(4),
        "uniform": rates.uniform_rates(4),
        "of a matrix": rates.rates_of(random_matrices(1, 1, 4)[0]),
    }[kind]
    draws, paths = generator(), []
    for _ in range(PATHS):
        paths.append(simulate(1, rate, 1.5, draws))
    for time in (0.4, 1.5):
        expected = PATHS * rates.exponential(rate, time)[1]
        counts = torch.bincount(torch.tensor([path.at(time) for path in paths]), minlength=4)
        assert (counts[expected == 0] == 0).all()
        chi = ((counts - expected) ** 2 / expected.clamp_min(1e-9))[expected > 0].sum()
        assert chi < 30


def test_waits_are_exponential_and_targets_proportional_to_rates():
    """From state 0 rates 1 and 3: mean wait 1 / 4 (standard error 0.0046), three of four go to 2 (0.0079)."""
    rate = torch.tensor([[-4.0, 1.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    draws = generator()
    paths = [simulate(0, rate, 1e3, draws) for _ in range(PATHS)]
    assert all(len(path.times) == 2 for path in paths)
    assert sum(path.times[1] for path in paths) / PATHS == pytest.approx(0.25, abs=0.023)
    assert sum(path.states[1] == 2 for path in paths) / PATHS == pytest.approx(0.75, abs=0.04)


def test_a_path_is_a_path():
    path = simulate(2, rates.uniform_rates(5), 20.0, generator())
    assert path.times[0] == 0.0 and path.states[0] == 2 and len(path.times) == len(path.states) > 5
    assert list(path.times) == sorted(path.times) and path.times[-1] <= 20.0
    assert all(a != b for a, b in zip(path.states[:-1], path.states[1:], strict=True))
    assert simulate(2, rates.uniform_rates(5), 20.0, generator()) == path
    assert simulate(2, rates.uniform_rates(5), 20.0, generator(1)) != path


def test_a_mask_never_leaves_and_no_noise_changes_nothing():
    assert simulate(3, rates.absorbing_rates(4), 1e4, generator()) == Path((0.0,), (3,))
    assert simulate(0, rates.absorbing_rates(4), 0.0, generator()) == Path((0.0,), (0,))


def test_the_state_between_jumps():
    path = Path((0.0, 0.5, 2.0), (7, 8, 9))
    assert [path.at(t) for t in (0.0, 0.49, 0.5, 1.9, 2.0, 99.0)] == [7, 7, 8, 8, 9, 9]
    assert [path.jumps(t) for t in (0.0, 0.49, 0.5, 99.0)] == [0, 0, 1, 2]
    with pytest.raises(ValueError, match="time must be at least 0"):
        path.at(-0.1)


@pytest.mark.parametrize("name", ["linear", "cosine", "geometric", "d3pm-cosine"])
def test_in_a_schedules_time_a_jump_is_where_its_noise_is(name):
    path = in_time(Path((0.0, 0.5, 2.0), (0, 1, 2)), CURVES[name])
    assert path.times[0] == 0.0 and path.states == (0, 1, 2)
    for t, sigma in zip(path.times[1:], (0.5, 2.0), strict=True):
        assert CURVES[name].alpha(t) == pytest.approx(math.exp(-sigma), abs=2e-3 if "d3pm" in name else 1e-12)


def test_shares_are_counts_of_states():
    paths = [Path((0.0, 0.5), (0, 2)), Path((0.0, 0.7), (0, 1)), Path((0.0,), (0,)), Path((0.0, 0.5, 0.6), (0, 1, 2))]
    found = shares(paths, [0.0, 0.5, 0.65, 1.0], 3)
    assert found.tolist() == [[1, 0, 0], [0.5, 0.25, 0.25], [0.5, 0, 0.5], [0.25, 0.25, 0.5]]
    law = torch.tensor([0.0, 0.2, 0.8, 1.0], dtype=torch.float64)
    counts = torch.distributions.Binomial(100, law)
    torch.testing.assert_close(share_error(law, 100), counts.stddev / 100)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="paths must be at least"):
        shares([], [0.0], 3)
    with pytest.raises(ValueError, match="paths must be at least 1, not 0"):
        share_error(torch.ones(1), 0)
    for until in (-1.0, math.nan, math.inf, 1e9):
        with pytest.raises(ValueError, match="until must be at least 0"):
            simulate(0, rates.uniform_rates(4), until, generator())
    with pytest.raises(ValueError, match="start must be 0 to 3, not 4"):
        simulate(4, rates.uniform_rates(4), 1.0, generator())
