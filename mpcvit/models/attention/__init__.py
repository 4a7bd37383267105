"""Attention kernels, one file per kind. Axes: B batch, H heads, N queries, M keys, D head dim."""

from mpcvit.members import members
from mpcvit.models.attention.kernel import AttentionKernel, ScoreKernel
from mpcvit.models.kinds import AttentionKind

KERNELS: dict[AttentionKind, type[AttentionKernel]] = {
    kernel.kind: kernel
    for kernel in members(__name__, AttentionKernel)  # type: ignore[type-abstract]
}

__all__ = ["KERNELS", "AttentionKernel", "ScoreKernel"]
