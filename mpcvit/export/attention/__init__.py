"""How each attention kind becomes ops, one file per kind."""

from mpcvit.export.attention.heads import AttentionLowering, Heads
from mpcvit.members import instances
from mpcvit.models.kinds import AttentionKind

ATTENTION: dict[AttentionKind, AttentionLowering] = {
    found.kind: found for found in instances(__name__, AttentionLowering)
}

__all__ = ["ATTENTION", "AttentionLowering", "Heads"]
