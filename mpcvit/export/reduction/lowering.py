"""What the lowering of a reduction is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.models.kinds import ReductionKind


@dataclass(frozen=True)
class Read:
    """What kinds behind the attention read of it.

    Attributes:
        queries, keys: [N, D].
        gains: [D], what is in the queries besides their scale.
    """

    queries: Value
    keys: Value
    gains: torch.Tensor


@dataclass(frozen=True)
class ReductionLowering:
    """How a reduction becomes ops.

    Attributes:
        lower: takes the builder, a name, the tokens, the reduction, and what is read of the attention, if it is behind
            that; gives the tokens that are left.
    """

    kind: ReductionKind
    lower: Callable[[Builder, str, Value, FoldedReduction, Read | None], Value]
