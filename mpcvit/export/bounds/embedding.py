"""How long the tokens of any picture can be behind the embedding."""

from __future__ import annotations

import torch

from mpcvit.export.bounds.balls import box
from mpcvit.ops.bounds import Bounds

#: Up to this width every token gets a certificate of its own.
_WIDE = 256


def embedding(patches: Bounds, weight: torch.Tensor, bias: torch.Tensor) -> float:
    """Return a bound on |x W + b_n| for every token n, x in ``patches``.

    Args:
        patches: [tokens, in], in real numbers.
        weight: [in, out].
        bias: [tokens, out].
    """
    middle, half = (patches.hi + patches.lo) / 2, (patches.hi - patches.lo) / 2
    # a class token's row of zeros lies in the box of the others, too
    matrix = half.amax(0)[:, None] * weight
    offsets = middle @ weight + bias
    if weight.shape[1] <= _WIDE:
        return box(matrix, offsets)
    return box(matrix) + float(offsets.norm(dim=-1).max())
