"""Linformer heads: keys and values projected by secret matrices, then softmax heads on k columns."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from mpcvit.export.attention.heads import AttentionLowering, Heads
from mpcvit.export.attention.softmax import lower_softmax
from mpcvit.export.builder import Builder, Value
from mpcvit.models.attention.linformer import Linformer
from mpcvit.models.kinds import AttentionKind


def lower_linformer(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of Linformer heads."""
    kernel = cast(Linformer, heads.kernel)
    projected = b.linear(f"{name}.keys_matmul", heads.keys, kernel.key_projection.detach().T)
    keys = b.rescale(f"{name}.projected_keys", projected)
    columns = b.permute(f"{name}.v_columns", heads.v, 0, 2, 1)
    projected = b.linear(f"{name}.v_matmul", columns, kernel.value_projection.detach().T)
    columns = b.rescale(f"{name}.projected_v_columns", projected)
    v = b.permute(f"{name}.projected_v", columns, 0, 2, 1)
    output = lower_softmax(b, name, replace(heads, keys=keys, v=v, scores=None))
    return replace(output, mix=None)  # of projected values, not of values


LOWERING = AttentionLowering(AttentionKind.LINFORMER, lower_linformer)
