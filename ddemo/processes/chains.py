"""What a row of transition matrices does together: products, states after t steps, and where they end.

Matrices are [T, K, K] float64 in rows, Q_1 .. Q_T; see `ddemo.processes.transitions`.
"""

import torch
from torch import Tensor


def products(matrices: Tensor) -> Tensor:
    """Q_bar_0 .. Q_bar_T [T + 1, K, K], with Q_bar_0 = I and Q_bar_t = Q_1 ... Q_t. Source: D3PM, eq. 3."""
    bars = torch.empty(len(matrices) + 1, *matrices.shape[1:], dtype=torch.float64)
    bars[0] = torch.eye(matrices.shape[-1], dtype=torch.float64)
    for t, matrix in enumerate(matrices):
        torch.matmul(bars[t], matrix, out=bars[t + 1])
    return bars


def between(matrices: Tensor, s: int, t: int) -> Tensor:
    """Q_(s+1) ... Q_t [K, K], which is q(x_t | x_s); I for s = t.

    Raises:
        ValueError: unless 0 <= s <= t <= T.
    """
    if not 0 <= s <= t <= len(matrices):
        raise ValueError(f"steps must be 0 <= s <= t <= {len(matrices)}, not s = {s} and t = {t}")
    return products(matrices[s:t])[-1]


def states(law: Tensor, matrices: Tensor) -> Tensor:
    """The law of x_0 .. x_T [T + 1, K] from that of x_0 [K]: one row times one matrix a step."""
    laws = [law.to(torch.float64)]
    for matrix in matrices:
        laws.append(laws[-1] @ matrix)
    return torch.stack(laws)


def stationary(matrix: Tensor) -> Tensor:
    """The law [K] that a step leaves as it is, pi = pi Q.

    Raises:
        ValueError: there is more than one, because the symbols fall apart into sets that never meet.
    """
    laws = stationary_laws(matrix)
    if len(laws) > 1:
        raise ValueError(f"matrix must have one stationary distribution, and has {len(laws)} and their mixtures")
    return laws[0]


def stationary_laws(matrix: Tensor) -> Tensor:
    """[C, K]: one law for each closed class of symbols, which once entered is never left; all others are mixtures.

    Within a class by the elimination of Grassmann, Taksar and Heyman (1985), which subtracts nothing and so keeps
    full precision for the smallest of probabilities. For rates the same law solves pi R = 0.
    """
    laws = []
    for members in closed_classes(matrix):
        law = torch.zeros(len(matrix), dtype=torch.float64)
        law[members] = _eliminate(matrix[members][:, members])
        laws.append(law)
    return torch.stack(laws)


def closed_classes(matrix: Tensor) -> list[list[int]]:
    """Sets of symbols that all reach each other and nothing else; at least one, by their smallest members."""
    reach = (matrix > 0.0) | torch.eye(len(matrix), dtype=torch.bool)
    for _ in range(len(matrix).bit_length()):
        reach = (reach.to(torch.float64) @ reach.to(torch.float64)) > 0.0
    classes = {tuple(row.nonzero().flatten().tolist()) for i, row in enumerate(reach) if (~row | reach[:, i]).all()}
    return [list(members) for members in sorted(classes)]


def _eliminate(matrix: Tensor) -> Tensor:
    """The stationary law [n] of an irreducible matrix, or of rates: the diagonal is not read."""
    left, size = matrix.clone(), len(matrix)
    for n in range(size - 1, 0, -1):
        left[:n, n] /= left[n, :n].sum()
        left[:n, :n] += left[:n, n, None] * left[n, :n]
    law = torch.ones(size, dtype=torch.float64)
    for n in range(1, size):
        law[n] = law[:n] @ left[:n, n]
    return law / law.sum()


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    """Half the summed distance of two laws [..., K]: [...], 0 for the same and 1 for laws that never agree."""
    return 0.5 * (first - second).abs().sum(-1)
