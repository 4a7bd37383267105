"""Grids of another size: resampling is linear, a product with one matrix for rows and one for columns."""

from __future__ import annotations

from typing import Any

import torch

from mpcvit.export.builder import Value
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering


def lower_resampling(call: AtenCall) -> AtenResult:
    """Return a grid [1, C, H, W] with other numbers of rows and columns."""
    b, x = call.b, call.ordinary()
    if len(x.type.shape) != 4:
        raise call.unsupported("a grid [1, C, H, W]")
    columns = b.linear(f"{call.name}.columns", x, _weights(call, x, -1))
    upright = b.permute(f"{call.name}.upright", b.rescale(f"{call.name}.wide", columns), 0, 1, 3, 2)
    rows = b.linear(f"{call.name}.rows", upright, _weights(call, x, -2))
    return b.permute(call.name, rows, 0, 1, 3, 2)


def _weights(call: AtenCall, x: Value, axis: int) -> torch.Tensor:
    """Return what every position of ``axis`` (-2 or -1) adds to those of the result, [size, result's size].

    The op itself says so, of grids that are the same along the other axis: there its weights add up to 1.
    """
    size, other = x.type.shape[axis], x.type.shape[-3 - axis]
    probe = torch.eye(size, dtype=torch.float64)[:, None, :, None].expand(size, 1, size, other)
    probe = probe if axis == -2 else probe.mT
    op: Any = call.node.target
    result: torch.Tensor = op(probe, *call.node.args[1:], **call.node.kwargs)
    return result[:, 0, :, 0] if axis == -2 else result[:, 0, 0]


RESAMPLING = AtenLowering(("upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d"), lower_resampling)
