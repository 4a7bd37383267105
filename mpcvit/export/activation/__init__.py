"""How each activation becomes ops, one file per kind."""

from mpcvit.export.activation.lowering import ActivationLowering
from mpcvit.members import instances
from mpcvit.models.kinds import Activation

ACTIVATION: dict[Activation, ActivationLowering] = {
    found.kind: found for found in instances(__name__, ActivationLowering)
}

__all__ = ["ACTIVATION", "ActivationLowering"]
