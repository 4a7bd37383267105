"""No activation."""

from __future__ import annotations

from mpcvit.export.activation.lowering import ActivationLowering
from mpcvit.export.builder import Builder, Value
from mpcvit.models.kinds import Activation


def lower_identity(b: Builder, name: str, x: Value) -> Value:
    """Return x itself; export multiplies the two linear layers around it into one before it comes to this."""
    return x


LOWERING = ActivationLowering(Activation.IDENTITY, lower_identity)
