"""How ATen ops become ops of a Program, one file per family."""

from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.members import instances

LOWERINGS: dict[str, AtenLowering] = {op: found for found in instances(__name__, AtenLowering) for op in found.ops}

__all__ = ["LOWERINGS"]
