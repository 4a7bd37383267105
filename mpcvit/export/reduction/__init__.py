"""How token reductions become ops, one file per kind."""

from mpcvit.export.reduction.lowering import Read, ReductionLowering
from mpcvit.members import instances
from mpcvit.models.kinds import ReductionKind

REDUCTION: dict[ReductionKind, ReductionLowering] = {
    found.kind: found for found in instances(__name__, ReductionLowering)
}

__all__ = ["REDUCTION", "Read", "ReductionLowering"]
