"""Matrices of small alphabets: closed forms are products, figures hold them, and no matrix is taken that is none."""

import time
from itertools import pairwise

import pytest
import torch

from ddemo.errors import InputError
from ddemo.processes import chains, rates
from ddemo.ui.lab.matrices import BETAS, MOST, PROCESSES, VIEW, Chain, chain_of, gaps_of, step_at
from ddemo.ui.lab.reading import read_matrix

OWN = "0.5 0.5\n0.25 0.75"


def values(**settings) -> dict:
    return {setting.name: setting.default for setting in VIEW.settings} | settings


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("betas", BETAS)
def test_all_steps_are_the_product_of_single_steps(process, betas):
    chain = chain_of(values(process=process, betas=betas, size=5, steps=12))
    products = chains.products(torch.stack([chain.one(k) for k in range(1, 13)]))
    for k in (1, 5, 12):
        torch.testing.assert_close(chain.many(k), products[k], rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_what_is_drawn_is_what_the_processes_say(ask, process):
    found = ask(VIEW, process=process, size=6, steps=40, t=0.5, row=2, sigma=2.0, n=8)
    chain = chain_of(values(process=process, size=6, steps=40))
    shown = {trace["meta"]: trace for trace in found["matrices"]["figure"]["data"]}
    torch.testing.assert_close(torch.tensor(shown["Q_bar_t"]["z"]), chain.many(20).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(shown["Q_t"]["z"]), chain.one(20).float(), atol=1e-6, rtol=0)
    rows = {row[0]: row[1:] for row in found["numbers"]["rows"]}
    exact = rates.exponential(chain.rates, 2.0)[1]
    assert rows["exp(sigma R)"] == [f"{p:.4f}" for p in exact.tolist()]
    gap = next(trace for trace in found["gap"]["figure"]["data"] if trace["meta"] == "gap")
    assert gap["y"][0] == pytest.approx(gaps_of(chain, 2.0, [8])[0], abs=1e-15)


def test_the_gap_falls_with_the_number_of_steps():
    chain = Chain("uniform", BETAS["linear"][1](10), 4)
    gaps = gaps_of(chain, 1.0, (1, 4, 16, 64))
    assert gaps[0] > 0.2 and all(3 < before / after < 6 for before, after in pairwise(gaps[1:]))


def test_a_matrix_with_two_ends_has_no_one_stationary_law_and_coarse_steps_are_no_probabilities(ask):
    found = ask(VIEW, process="own", own="1 0 0\n0.5 0 0.5\n0 0 1")
    assert any("2 sets of symbols" in line for line in found["numbers"]["said"])
    assert "stationary" not in {trace["meta"] for trace in found["bars"]["figure"]["data"]}
    found = ask(VIEW, process="absorbing", sigma=3.0, n=1)
    assert any("no probability" in line for line in found["numbers"]["said"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs 2 to 32 rows, a row a line, and 0 are written"),
        ("1", "and 1 are written"),
        ("0\n1", "square"),
        ("0.5 0.5\n0.3 0.6", "rows that sum to 1, and row 2 sums to 0.9"),
        ("1.5 -0.5\n0 1", "no negative numbers, and has -0.5 in row 1, column 2"),
        ("0.5 0.5\n1", "same length"),
        ("0.5 half\n0 1", "'half' is none|half"),
        ("nan 1\n0 1", "numbers only, and has nan in row 1"),
        ("\n".join(["1"] * 40), "needs 2 to 32 rows"),
    ],
)
def test_a_matrix_that_is_none_is_refused_in_a_sentence(ask, text, why):
    with pytest.raises(InputError, match=why):
        ask(VIEW, process="own", own=text)
    assert read_matrix(OWN, MOST).tolist() == [[0.5, 0.5], [0.25, 0.75]]


def test_time_is_a_step():
    assert (step_at(0.0, 1000), step_at(0.5, 1000), step_at(1.0, 7)) == (1, 500, 7)


@pytest.mark.parametrize("process", [name for name in PROCESSES if name != "own"])
def test_the_largest_alphabet_and_a_thousand_steps_answer_at_once(process, resident):
    def asked(t: float) -> float:
        begun = time.process_time()
        VIEW.answer(values(process=process, size=MOST, steps=1000, t=t), resident)
        return time.process_time() - begun

    asked(0.1)  # what a slider's first place pays for all
    assert min(asked(t) for t in (0.2, 0.4, 0.6, 0.8, 1.0)) < 0.1


def test_probabilities_too_small_for_a_number_do_not_cut_the_symbols_apart(ask):
    """exp(-4 / (2^2 beta)) is 0 in float64 for three symbols and D3PM's first linear betas, and is not 0."""
    found = ask(VIEW, process="gaussian", betas="linear", size=3, steps=1000, t=0.01)
    rows = {row[0]: row[1:] for row in found["numbers"]["rows"]}
    assert rows["Q_t"] == ["1.0000", "0.0000", "0.0000"] and rows["stationary"] == ["0.3333"] * 3
    assert not any("no one stationary law" in line for line in found["numbers"]["said"])
