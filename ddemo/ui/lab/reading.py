"""Numbers that a visitor wrote, as tensors."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from ddemo.errors import InputError
from ddemo.processes.validation import law, rate_matrix, stochastic_matrix
from ddemo.sampling.config import quoted

LARGEST_LOGIT = 100.0


def read_matrix(text: str, most: int) -> Tensor:
    """A transition matrix [K, K], a row a line; raises InputError, one sentence that says what is wrong with it."""
    return _read_rows(text, most, stochastic_matrix)


def read_rates(text: str, most: int) -> Tensor:
    """A rate matrix [K, K], a row a line that sums to zero; raises InputError as `read_matrix`."""
    return _read_rows(text, most, rate_matrix)


def _read_rows(text: str, most: int, check: Callable[[list[list[float]]], Tensor]) -> Tensor:
    lines = [line for line in re.split(r"[\n;]", text) if line.strip()]
    if not 2 <= len(lines) <= most:
        raise InputError(f"A matrix here needs 2 to {most} rows, a row a line, and {len(lines)} are written.")
    rows = [_numbers(line) for line in lines]
    try:
        return check(rows)
    except ValueError as problem:
        raise InputError(f"The {problem}.") from None


def read_law(text: str, size: int, name: str) -> Tensor:
    """K probabilities that sum to one; raises InputError, one sentence that says what is wrong with them."""
    numbers = _numbers(text)
    if len(numbers) != size:
        raise InputError(f"The {name} needs {size} probabilities, and {len(numbers)} are written.")
    try:
        return law(torch.tensor(numbers, dtype=torch.float64), size, name)
    except ValueError as problem:
        raise InputError(f"The {problem}.") from None


def read_logits(text: str, most: int) -> Tensor:
    """[K] float64, 2 to `most` numbers no larger than `LARGEST_LOGIT`; raises InputError as `read_matrix`."""
    numbers = _numbers(text)
    if not 2 <= len(numbers) <= most:
        raise InputError(f"Write 2 to {most} logits, not {len(numbers)}.")
    for number in numbers:
        if not abs(number) <= LARGEST_LOGIT:
            limits = f"-{LARGEST_LOGIT:g} to {LARGEST_LOGIT:g}"
            raise InputError(f"A logit must be a number from {limits}, not {number:g}.")
    return torch.tensor(numbers, dtype=torch.float64)


def _numbers(text: str) -> list[float]:
    return [_number(cell) for cell in re.split(r"[\s,;]+", text.strip()) if cell]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"Write numbers with spaces between them: {quoted(cell)} is none.") from None
