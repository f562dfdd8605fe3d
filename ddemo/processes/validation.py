"""What is a matrix, a law or a rate, checked where a person can hand one in; every refusal is one sentence.

Sentences count rows and columns as people do, from 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_ALPHABET = 256  # states of a dense matrix: D3PM's pixel values
TOLERANCE = 1e-6  # how far a typed row may be from its sum; it is then put right


def check_size(size: int) -> None:
    """Raises ValueError unless 2 <= K <= LARGEST_ALPHABET."""
    if not 2 <= size <= LARGEST_ALPHABET:
        raise ValueError(f"alphabet must have 2 to {LARGEST_ALPHABET} symbols, not {size}")


def check_index(name: str, index: int, size: int) -> None:
    """Raises ValueError unless index is one of 0 .. size - 1."""
    if not 0 <= index < size:
        raise ValueError(f"{name} must be 0 to {size - 1}, not {index}")


def stochastic_matrix(matrix: Tensor | Sequence[Sequence[float]]) -> Tensor:
    """A user's own transition matrix [K, K] float64, q(x_t = j | x_(t-1) = i) at row i, column j.

    Rows that sum to one within `TOLERANCE` are scaled to one.

    Raises:
        ValueError: not square, K beyond the limit, an entry that is no number or negative, a row sum that is not 1.
    """
    matrix = _square("matrix", matrix)
    _refuse("matrix", matrix, matrix < 0.0, "must hold no negative numbers")
    sums = matrix.sum(-1)
    _check_sums("matrix", sums, 1.0)
    return matrix / sums[:, None]


def rate_matrix(rates: Tensor | Sequence[Sequence[float]]) -> Tensor:
    """A user's own rate matrix [K, K] float64: the rate from i to j at row i, column j, and rows that sum to zero.

    Rows that sum to zero within `TOLERANCE` of their largest rate get a diagonal that makes it exact.

    Raises:
        ValueError: not square, K beyond the limit, an entry that is no number, a negative rate, a row sum not 0.
    """
    rates = _square("rates", rates)
    others = rates.masked_fill(torch.eye(len(rates), dtype=torch.bool), 0.0)
    _refuse("rates", rates, others < 0.0, "must hold no negative numbers beside the diagonal")
    _check_sums("rates", rates.sum(-1), 0.0, rates.abs().max().clamp_min(1.0).item())
    return others - torch.diag(others.sum(-1))


def law(values: Tensor | Sequence[float], size: int | None = None, name: str = "law") -> Tensor:
    """Probabilities [..., K] float64.

    Raises:
        ValueError: not of the size asked for, an entry that is no number or negative, or a sum that is not 1.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    if values.dim() == 0 or (size is not None and values.shape[-1] != size):
        raise ValueError(f"{name} must have {size or 'some'} probabilities in a row, not shape {list(values.shape)}")
    if not values.isfinite().all() or (values < 0.0).any():
        raise ValueError(f"{name} must hold probabilities, not {values[~(values >= 0.0) | values.isinf()][0].item()}")
    total = values.sum(-1, keepdim=True)
    if ((total - 1.0).abs() > TOLERANCE).any():
        worst = total.flatten()[(total - 1.0).abs().argmax()].item()
        raise ValueError(f"{name} must sum to 1, not to {worst:.6g}")
    return values / total


def _square(name: str, matrix: Tensor | Sequence[Sequence[float]]) -> Tensor:
    try:
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be rows of numbers, all of the same length") from error
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square, not of shape {list(matrix.shape)}")
    check_size(len(matrix))
    _refuse(name, matrix, ~matrix.isfinite(), "must hold numbers only")
    return matrix


def _refuse(name: str, matrix: Tensor, bad: Tensor, what: str) -> None:
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        entry = f"{matrix[row, column].item():.6g} in row {row + 1}, column {column + 1}"
        raise ValueError(f"{name} {what}, and has {entry}")


def _check_sums(name: str, sums: Tensor, wanted: float, scale: float = 1.0) -> None:
    off = (sums - wanted).abs()
    if (off > TOLERANCE * scale).any():
        row = int(off.argmax())
        raise ValueError(
            f"{name} must have rows that sum to {wanted:g}, and row {row + 1} sums to {sums[row].item():.6g}"
        )
