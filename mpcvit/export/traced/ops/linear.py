"""Linear layers and other products with constants, and products of two secret matrices."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Value
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.passes.mean_centring import STREAMED
from mpcvit.export.traced.precision import written_radius
from mpcvit.export.traced.rows.normed_rows import NormedRows
from mpcvit.export.traced.rows.softmax_rows import SoftmaxRows


def lower_linear(call: AtenCall) -> AtenResult:
    """Return a linear layer, not rescaled; a norm before it is folded into its weights."""
    weight, bias = call.tensor("weight"), call.tensor("bias")
    if weight is None or (bias is None and call["bias"] is not None):
        raise call.unsupported("weights that do not depend on the picture")
    matrix = weight.T.contiguous()
    offset = weight.new_zeros(len(weight)) if bias is None else bias
    if isinstance(call["input"], NormedRows):
        return call["input"].through(call.b, call.name, matrix, offset)
    x = call.ordinary()
    radius = written_radius(call.b, x, matrix, offset) if call.node.meta.get(STREAMED) else None
    return call.b.wide_affine(call.name, x, matrix, offset, radius=radius)


def lower_matmul(call: AtenCall) -> AtenResult:
    """Return a product of matrices, not rescaled."""
    b, left, right = call.b, call["input"], call.get("other", call.get("mat2"))
    if isinstance(right, torch.Tensor):
        return b.linear(call.name, call.ordinary(), right)
    if isinstance(left, torch.Tensor):  # weights are on the right
        y = call.shortened(right)
        rank = len(y.type.shape)
        order = (*range(rank - 2), rank - 1, rank - 2)
        product = b.linear(f"{call.name}.transposed", b.permute(f"{call.name}.columns", y, *order), left.mT)
        return b.permute(call.name, product, *order)
    values = call.shortened(right)
    if isinstance(left, SoftmaxRows):
        return left.mix(b, call.name, values)
    rows = call.ordinary()
    return b.matmul(call.name, rows, values, _of_lengths(call, rows, values))


def _of_lengths(call: AtenCall, left: Value, right: Value) -> tuple[float, float] | None:
    """Return bounds on the products of rows and columns whose lengths are known: |x y| <= |x| |y|."""
    columns = call.lengths.of(right)
    if left.radius is None or columns is None or columns[0] != len(right.type.shape) - 2:
        return None
    largest = left.radius * columns[1]
    return -largest, largest


LINEAR = AtenLowering(("linear",), lower_linear)
MATMUL = AtenLowering(("matmul", "bmm", "mm"), lower_matmul)
