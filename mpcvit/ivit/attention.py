"""Attention on codes: softmax heads by Shiftmax, ReLU-softmax heads by the same division, scaling heads by products.

Axes: B batch, H heads, N queries, M keys, D head dim, F filters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import nn

from mpcvit.ivit.accumulate import accumulate
from mpcvit.ivit.dyadic import Dyadic, dyadic, saturate
from mpcvit.ivit.linear import IntegerLinear, integer_linear
from mpcvit.ivit.scales import OPERAND_BITS, STREAM_BITS, ScaledEdge, steps_per_unit, symmetric_scale
from mpcvit.ivit.shiftmax import row_shares, shiftmax
from mpcvit.models.attention.lepe import Lepe
from mpcvit.models.attention.relu_softmax import EPSILON
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.vit import Attention

#: Scale of attention weights.
_WEIGHT_SCALE = 2.0 ** (1 - STREAM_BITS)
#: Steps per unit of a score. Steps of 0.1 % of a weight are fine enough, and leave Shiftmax room for 16,000 keys.
_FINEST_SCORE = 1 << 10


class IntegerHeads(Protocol):
    """The heads of one kind: codes of Q, K and V to codes of their outputs, all [B, H, N, D]."""

    def __call__(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, eq=False)
class SoftmaxHeads:
    """Shiftmax of 8-bit scores.

    Attributes:
        scores: from products to scores at scale 1 / ``unit``.
        unit: codes per unit of a score.
        rescale: from products with V to the outputs' scale.
    """

    scores: Dyadic
    unit: int
    rescale: Dyadic

    def __call__(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        scores_BHNM = saturate(self.scores(accumulate(q_BHND, k_BHMD.mT)), OPERAND_BITS)
        return self.rescale(accumulate(shiftmax(scores_BHNM, self.unit, STREAM_BITS), v_BHMD))


@dataclass(frozen=True, eq=False)
class ReluSoftmaxHeads:
    """ReLU of 8-bit scores, over its sum.

    Attributes:
        scores: from products to scores.
        epsilon: what the kind adds to the sum, in steps of a score.
        rescale: from products with V to the outputs' scale.
    """

    scores: Dyadic
    epsilon: int
    rescale: Dyadic

    def __call__(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        scores_BHNM = saturate(self.scores(accumulate(q_BHND, k_BHMD.mT)), OPERAND_BITS)
        weights_BHNM = row_shares(scores_BHNM.clamp(min=0), STREAM_BITS, extra=self.epsilon)
        return self.rescale(accumulate(weights_BHNM, v_BHMD))


@dataclass(frozen=True, eq=False)
class ScalingHeads:
    """Q (K^T V) with the inner product in 8 bits; 1 / M is part of a scale."""

    keys_values: Dyadic
    rescale: Dyadic

    def __call__(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        mixed_BHDD = saturate(self.keys_values(accumulate(k_BHMD.mT, v_BHMD)), OPERAND_BITS)
        return self.rescale(accumulate(q_BHND, mixed_BHDD))


@dataclass(frozen=True, eq=False)
class IntegerLepe:
    """A depth-wise convolution of V.

    Attributes:
        matrices: [F, N, N], the filters' codes as matrices over tokens; each filter has a scale of its own.
        rescale: per filter, to the outputs' scale; of shape [F, 1, 1].
    """

    matrices: torch.Tensor
    rescale: Dyadic

    def __call__(self, v_BHND: torch.Tensor) -> torch.Tensor:
        batch, heads, tokens, width = v_BHND.shape
        grouped = v_BHND.transpose(-1, -2).reshape(batch, len(self.matrices), -1, tokens)
        mixed = self.rescale(accumulate(grouped, self.matrices.mT))
        return mixed.reshape(batch, heads, width, tokens).transpose(-1, -2)


@dataclass(frozen=True, eq=False)
class IntegerAttention:
    """Attention of all heads and the layers around it: codes [B, N, D] to codes of the branch.

    Attributes:
        qkv: with a scale of its own for each of Q, K and V.
        groups: heads of one kind, and which they are.
        lepe: what is made of V and added, if the model has it.
        proj: the layer after the heads.
    """

    qkv: IntegerLinear
    groups: tuple[tuple[tuple[int, ...], IntegerHeads], ...]
    lepe: IntegerLepe | None
    proj: IntegerLinear

    def __call__(self, codes_BND: torch.Tensor) -> torch.Tensor:
        """Return what is added to the residual stream."""
        batch, tokens, width = codes_BND.shape
        heads = sum(len(members) for members, _ in self.groups)
        split = self.qkv(codes_BND).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        q_BHND, k_BHND, v_BHND = split.unbind(0)
        output_BHND = torch.zeros_like(v_BHND)
        for members, mix in self.groups:
            chosen = list(members)
            output_BHND[:, chosen] = mix(q_BHND[:, chosen], k_BHND[:, chosen], v_BHND[:, chosen])
        if self.lepe is not None:
            output_BHND = output_BHND + self.lepe(v_BHND)
        merged = saturate(output_BHND, OPERAND_BITS).transpose(1, 2).reshape(batch, tokens, width)
        return self.proj(merged)


@dataclass(frozen=True, eq=False)
class _Operands:
    """Q (with 1/sqrt(D)), K and V under calibration, and the scale of the outputs."""

    q: ScaledEdge
    k: ScaledEdge
    v: ScaledEdge
    output: float

    def of(self, heads: list[int]) -> _Operands:
        """Return the scales of some of the heads."""
        q, k, v = (ScaledEdge(edge.real[:, heads], edge.scale) for edge in (self.q, self.k, self.v))
        return _Operands(q, k, v, self.output)

    def scores(self) -> torch.Tensor:
        """Return real scores."""
        return self.q.real @ self.k.real.mT

    @property
    def score(self) -> float:
        """Scale of a product of Q and K."""
        return self.q.scale * self.k.scale


def _softmax(on: _Operands) -> IntegerHeads:
    unit = min(steps_per_unit(on.scores(), OPERAND_BITS), _FINEST_SCORE)
    return SoftmaxHeads(dyadic(on.score * unit), unit, dyadic(_WEIGHT_SCALE * on.v.scale / on.output))


def _relu_softmax(on: _Operands) -> IntegerHeads:
    scale = symmetric_scale(on.scores().relu(), OPERAND_BITS)
    epsilon = round(EPSILON / scale)
    return ReluSoftmaxHeads(dyadic(on.score / scale), epsilon, dyadic(_WEIGHT_SCALE * on.v.scale / on.output))


def _scaling(on: _Operands) -> IntegerHeads:
    scale = symmetric_scale(on.k.real.mT @ on.v.real, OPERAND_BITS)
    tokens = on.v.real.shape[-2]
    return ScalingHeads(dyadic(on.k.scale * on.v.scale / scale), dyadic(on.q.scale * scale / (tokens * on.output)))


#: What heads of a kind become; kinds that are not here have no integer form.
HEADS: dict[AttentionKind, Callable[[_Operands], IntegerHeads]] = {
    AttentionKind.SOFTMAX: _softmax,
    AttentionKind.RELU_SOFTMAX: _relu_softmax,
    AttentionKind.SCALING: _scaling,
}


def integer_attention(attention: Attention, x: ScaledEdge) -> tuple[IntegerAttention, ScaledEdge]:
    """Return ``attention`` on codes, and what it writes.

    Args:
        attention: in float64, its kinds in :data:`HEADS`.
        x: what it reads.
    """
    qkv, proj = cast(nn.Linear, attention.qkv), cast(nn.Linear, attention.proj)
    batch, tokens, width = x.real.shape
    heads, head_dim = len(attention.kinds), attention.head_dim
    split = qkv(x.real).reshape(batch, tokens, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
    gains = (head_dim**-0.5, 1.0, 1.0)
    q, k, v = (
        ScaledEdge(gain * part, symmetric_scale(gain * part, OPERAND_BITS))
        for gain, part in zip(gains, split, strict=True)
    )
    mixed = _mixed(attention, q.real, k.real, v.real)
    output = symmetric_scale(mixed, OPERAND_BITS)
    operands, groups = _Operands(q, k, v, output), []
    for kind in dict.fromkeys(attention.kinds):
        members = [head for head, other in enumerate(attention.kinds) if other == kind]
        groups.append((tuple(members), HEADS[kind](operands.of(members))))
    merged = mixed.transpose(1, 2).reshape(batch, tokens, width)
    branch = proj(merged)
    scale = symmetric_scale(branch, STREAM_BITS)
    writes = torch.tensor([q.scale / gains[0], k.scale, v.scale], dtype=torch.float64).repeat_interleave(width)
    integer = IntegerAttention(
        qkv=integer_linear(qkv.weight, qkv.bias, x.scale, writes, OPERAND_BITS),
        groups=tuple(groups),
        lepe=None if attention.lepe is None else _integer_lepe(attention.lepe, v.scale, output),
        proj=integer_linear(proj.weight, proj.bias, output, scale, STREAM_BITS),
    )
    return integer, ScaledEdge(branch, scale)


def _mixed(attention: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return what the float model's heads make of Q, K and V."""
    mixed = torch.empty_like(v)
    for kind, kernel in attention.kernels.items():
        members = [head for head, other in enumerate(attention.kinds) if other == kind]
        mixed[:, members] = kernel(q[:, members], k[:, members], v[:, members])
    return mixed if attention.lepe is None else mixed + attention.lepe(v)


def _integer_lepe(lepe: Lepe, reads: float, writes: float) -> IntegerLepe:
    matrices = lepe.matrices().double()
    steps = torch.stack([torch.tensor(symmetric_scale(matrix, OPERAND_BITS)) for matrix in matrices])
    steps = steps.double()[:, None, None]
    return IntegerLepe((matrices / steps).round().long(), dyadic(reads * steps / writes))
