"""How long sums of linear images of balls and boxes can be: certificates by duality.

All matrices are [in, out], float64; y is a row vector. A certificate is the largest eigenvalue of a weighted sum of
Gram matrices, which bounds the length for every choice of positive weights (Lagrangian duality; Boyd and Vandenberghe,
"Convex Optimization", section 5.1 and appendix B).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mpcvit.export.bounds.minimise import minimise

_TINY = 1e-12


def gain(matrix: torch.Tensor) -> float:
    """Return max |y M| for |y| <= 1: the spectral norm."""
    return float(torch.linalg.matrix_norm(matrix, 2))


def largest_eigenvalue(matrix: torch.Tensor) -> torch.Tensor:
    """Return the largest eigenvalue of a symmetric matrix."""
    last: torch.Tensor = torch.linalg.eigvalsh(matrix)[-1]
    return last


def sum_of_balls(matrices: Sequence[torch.Tensor]) -> float:
    """Return a bound on |sum_i y_i M_i| for independent |y_i| <= 1.

    |sum y_i M_i|^2 <= lambda_max(sum M_i^T M_i / p_i) for every p > 0 that adds up to 1, by Cauchy and Schwarz.
    """
    matrices = [matrix for matrix in matrices if float(matrix.abs().max()) > 0]
    if not matrices:
        return 0.0
    gains = torch.tensor([gain(matrix) for matrix in matrices], dtype=torch.float64)
    if len(matrices) == 1:
        return float(gains[0])
    grams = torch.stack([matrix.mT @ matrix for matrix in matrices])
    weights = gains.log()

    def bound() -> torch.Tensor:
        shares = torch.softmax(weights, 0)
        return largest_eigenvalue((grams / shares[:, None, None]).sum(0)).sqrt()

    return min(minimise(bound, [weights], grams.shape[-1]), float(gains.sum()))


def box(matrix: torch.Tensor, offsets: torch.Tensor | None = None) -> float:
    """Return a bound on |z M + offset| for |z_i| <= 1 and every row of ``offsets`` [count, out].

    Without offsets on |z M|.

    |z M|^2 <= lambda_max(M^T D^-1 M) * trace D for every positive diagonal D: the dual of max-cut's relaxation
    (Goemans and Williamson, J. ACM 1995; Nesterov, 1998). An offset is one more row, whose z is 1.
    """
    rows = matrix if offsets is None else torch.cat([matrix, offsets[offsets.norm(dim=-1).argmax()][None]])
    weights = rows.norm(dim=-1).clamp(min=_TINY).log()

    def bound() -> torch.Tensor:
        diagonal = weights.exp()
        scaled = rows / diagonal.sqrt()[:, None]
        return torch.sqrt(largest_eigenvalue(scaled.mT @ scaled) * diagonal.sum())

    best = min(minimise(bound, [weights], rows.shape[-1]), float(rows.abs().sum(0).norm()))
    if offsets is None:
        return best
    # the weights found serve every offset
    diagonal = weights.detach().exp()
    scaled = matrix / diagonal[:-1].sqrt()[:, None]
    gram = scaled.mT @ scaled
    total = diagonal.sum()
    squares = [largest_eigenvalue(gram + torch.outer(offset, offset) / diagonal[-1]) * total for offset in offsets]
    return float(torch.stack(squares).max().sqrt())
