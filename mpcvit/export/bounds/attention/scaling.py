"""Scaling heads together: the mean over tokens of (q . k_m) v_m, projected."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.export.bounds.balls import gain, largest_eigenvalue
from mpcvit.export.bounds.minimise import minimise

_TINY = 1e-12


@dataclass(frozen=True)
class ScalingHead:
    """One head behind a norm, float64; d is the width of the stream, D that of the head.

    Attributes:
        query, key: [d + 1, D], the biases as last row.
        value: [d + 1, out], already projected.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


def scaling(heads: list[ScalingHead], radius: float) -> float:
    """Return a bound on |mean_m sum_h (q_h . k_hm) u_hm| for tokens within ``radius``.

    The mean of terms of one token each is no longer than the longest. With |(q_h)_h| as one vector and a b <= (t a^2 +
    b^2 / t) / 2, a term is at most |q| lambda_max(sum_h t_h K_h K_h^T + U_h U_h^T / t_h) / 2, for every t > 0, every
    diagonal that scales queries up and keys down, and every split between a token and the constant behind it.
    """
    bases = [_balanced(head) for head in heads]
    queries, keys = (torch.stack(parts) for parts in zip(*bases, strict=True))
    values = torch.stack([head.value for head in heads])
    width = queries.shape[-2] - 1
    scales = torch.zeros(queries.shape[0], queries.shape[-1], dtype=torch.float64)
    ratios = [max(gain(v), _TINY) / max(gain(k), _TINY) for k, v in zip(keys, values, strict=True)]
    trades = torch.tensor(ratios, dtype=torch.float64).log()
    splits = torch.zeros(2, dtype=torch.float64)

    def weigh(matrix: torch.Tensor, split: torch.Tensor) -> torch.Tensor:
        """Return the rows for a vector of length sqrt(1 + split^2): y / radius, and split for the constant 1."""
        rows = torch.ones(width + 1, 1, dtype=torch.float64) * radius
        return matrix * torch.cat([rows[:-1], (1 / split).reshape(1, 1)])

    def bound() -> torch.Tensor:
        scale, trade, (own, other) = scales.exp(), trades.exp()[:, None, None], splits.exp()
        q = weigh(queries / scale[:, None], own).transpose(0, 1).flatten(1)
        k, u = weigh(keys * scale[:, None], other), weigh(values, other)
        longest = torch.sqrt(largest_eigenvalue(q @ q.mT) * (1 + own**2))
        forms = (trade * (k @ k.mT) + u @ u.mT / trade).sum(0)
        total: torch.Tensor = longest * largest_eigenvalue(forms) * (1 + other**2) / 2
        return total

    return minimise(bound, [scales, trades, splits], width)


def _balanced(head: ScalingHead) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the queries and keys with the same products, in the basis in which both are equally long."""
    left, values, right = torch.linalg.svd(head.query @ head.key.mT, full_matrices=False)
    rank = head.query.shape[-1]
    root = values[:rank].clamp(min=_TINY).sqrt()
    return left[:, :rank] * root, right[:rank].mT * root
