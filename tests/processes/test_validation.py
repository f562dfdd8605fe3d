"""What a person can hand in and what is said about it when it is no matrix, law or rate."""

import math

import pytest
import torch

from ddemo.processes import validation


def test_what_is_right_comes_back_in_float64_with_exact_sums():
    matrix = validation.stochastic_matrix([[0.3333333, 0.3333333, 0.3333334], [0, 1, 0], [0.5, 0.25, 0.25]])
    assert matrix.dtype == torch.float64 and (matrix.sum(-1) - 1).abs().max() < 1e-15
    rates = validation.rate_matrix([[-1.0, 1.0], [2.0, -2.0000001]])
    assert rates.dtype == torch.float64 and rates.sum(-1).abs().max() == 0 and rates[1, 0] == 2.0
    assert validation.law([0.25, 0.75], 2).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    "matrix, sentence",
    [
        ([[1.0, 0.0]], r"matrix must be square, not of shape \[1, 2\]"),
        ([[1.0, 0.0], [1.0]], "matrix must be rows of numbers, all of the same length"),
        ([["a", "b"], [0, 1]], "matrix must be rows of numbers"),
        ([[1.0]], "^alphabet must have 2 to 256 symbols, not 1"),
        (torch.eye(257), "^alphabet must have 2 to 256 symbols, not 257"),
        ([[0.5, 0.5], [0.5, math.nan]], "matrix must hold numbers only, and has nan in row 2, column 2"),
        ([[0.5, math.inf], [0.5, 0.5]], "matrix must hold numbers only, and has inf in row 1, column 2"),
        ([[1.1, -0.1], [0.5, 0.5]], "matrix must hold no negative numbers, and has -0.1 in row 1, column 2"),
        ([[0.5, 0.5], [0.5, 0.4]], "matrix must have rows that sum to 1, and row 2 sums to 0.9"),
    ],
)
def test_what_is_no_transition_matrix_is_refused_in_one_sentence(matrix, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        validation.stochastic_matrix(matrix)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "rates, sentence",
    [
        ([[1.0, -1.0], [1.0, -1.0]], "no negative numbers beside the diagonal, and has -1 in row 1, column 2"),
        ([[-1.0, 1.0], [1.0, -0.5]], "rates must have rows that sum to 0, and row 2 sums to 0.5"),
        ([[-1.0, 1.0], [math.nan, -1.0]], "rates must hold numbers only, and has nan in row 2, column 1"),
        ([[0.0, 0.0, 0.0]], "rates must be square"),
    ],
)
def test_what_are_no_rates_is_refused_in_one_sentence(rates, sentence):
    with pytest.raises(ValueError, match=sentence):
        validation.rate_matrix(rates)


@pytest.mark.parametrize(
    "values, sentence",
    [
        ([0.5, 0.6], "law must sum to 1, not to 1.1"),
        ([1.5, -0.5], "law must hold probabilities, not -0.5"),
        ([math.nan, 1.0], "law must hold probabilities, not nan"),
        ([1.0, 0.0], r"law must have 3 probabilities in a row, not shape \[2\]"),
    ],
)
def test_what_is_no_law_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        validation.law(values, 3 if "3" in sentence else None)
