"""Reductions of tokens, one file per kind. Axes: B batch, N tokens, D width."""

from mpcvit.members import members
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.reduction.reduction import TokenReduction

REDUCTIONS: dict[ReductionKind, type[TokenReduction]] = {
    one.kind: one
    for one in members(__name__, TokenReduction)  # type: ignore[type-abstract]
}

__all__ = ["REDUCTIONS", "TokenReduction"]
