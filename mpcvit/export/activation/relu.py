"""ReLU: one op."""

from __future__ import annotations

from mpcvit.export.activation.lowering import ActivationLowering
from mpcvit.export.builder import Builder, Value
from mpcvit.models.kinds import Activation


def lower_relu(b: Builder, name: str, x: Value) -> Value:
    """Return max(x, 0)."""
    return b.relu(name, x)


LOWERING = ActivationLowering(Activation.RELU, lower_relu)
