"""How far attention can move the residual stream: what the projection of all heads, and of LePE, writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mpcvit.export.bounds.attention.scaling import ScalingHead, scaling
from mpcvit.export.bounds.balls import box, sum_of_balls
from mpcvit.models.kinds import AttentionKind


@dataclass(frozen=True)
class AttentionLayer:
    """What a projection reads, float64; I is the width of all heads, d that of the stream.

    Attributes:
        query, key, value: [d, I], their biases [I].
        gain: bound on the length of a normalised token.
        rounding: bound on what fixed point adds to an element of queries, keys or values.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    query_bias: torch.Tensor
    key_bias: torch.Tensor
    value_bias: torch.Tensor
    gain: float
    rounding: float


@dataclass(frozen=True)
class MixedHead:
    """One head.

    Attributes:
        kind: how it mixes.
        columns: of its part of all heads.
        share: bound on sum_m |a_nm|; None where the head does more than mix values.
        error: bound on what its output is off from a mix of values as computed.
        largest: [D], bounds on the magnitudes of its output.
    """

    kind: AttentionKind
    columns: slice
    share: float | None
    error: float
    largest: torch.Tensor


def projection(
    layer: AttentionLayer, heads: Sequence[MixedHead], taps: torch.Tensor | None, weight: torch.Tensor
) -> float:
    """Return a bound on the length of (heads + local) @ ``weight``, without its bias and the rounding of the result.

    Args:
        taps: [taps, I], the factors of the values that a local convolution adds up, each of another token.
        weight: [I, d].
    """
    balls, total = [], 0.0
    rounding = torch.zeros(weight.shape[0], dtype=torch.float64)
    scaling_heads = []
    for head in heads:
        own, columns = weight[head.columns], head.columns
        value, bias = layer.value[:, columns] @ own, layer.value_bias[columns] @ own
        if head.share is None:
            total += box(head.largest[:, None] * own)
            continue
        rounding[columns] += head.share * layer.rounding + head.error
        if head.kind.facts.bilinear:
            query, key = (
                torch.cat([part[:, columns], offset[None, columns]])
                for part, offset in ((layer.query, layer.query_bias), (layer.key, layer.key_bias))
            )
            scaling_heads.append(ScalingHead(query, key, torch.cat([value, bias[None]])))
        else:
            balls.append(layer.gain * head.share * value)
            total += head.share * float(bias.norm())
    if scaling_heads:
        total += scaling(scaling_heads, layer.gain)
    for factors in [] if taps is None else taps:
        balls.append(layer.gain * (layer.value * factors) @ weight)
        total += float(((layer.value_bias * factors) @ weight).norm())
        rounding += factors.abs() * layer.rounding
    return total + sum_of_balls(balls) + float((rounding @ weight.abs()).norm())


def taps_of(matrices: torch.Tensor, width: int) -> torch.Tensor:
    """Return the different factors [taps, ``width``] with which any row of a local convolution reads values.

    A row that reads fewer of them, as at a border, writes less. Factors that a row uses more than once are there as
    often.

    Args:
        matrices: [filters, N, M]: the matrix of each filter, for equally many neighbouring columns.
    """
    per_row: dict[tuple[float, ...], int] = {}
    for row in matrices.permute(1, 2, 0):
        used: dict[tuple[float, ...], int] = {}
        for factors in map(tuple, row[row.abs().amax(-1) > 0].tolist()):
            used[factors] = used.get(factors, 0) + 1
        for factors, count in used.items():
            per_row[factors] = max(per_row.get(factors, 0), count)
    found = [factors for factors, count in per_row.items() for _ in range(count)]
    taps = torch.tensor(found, dtype=torch.float64).reshape(len(found), matrices.shape[0])
    return taps.repeat_interleave(width // matrices.shape[0], dim=1)
