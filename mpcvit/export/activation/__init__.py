"""How each activation becomes ops, one file per kind: builder, name, input -> output, both at ordinary precision."""

from collections.abc import Callable

from mpcvit.export.activation.gelu import lower_gelu
from mpcvit.export.activation.identity import lower_identity
from mpcvit.export.activation.quad import lower_quad
from mpcvit.export.activation.relu import lower_relu
from mpcvit.export.builder import Builder, Value
from mpcvit.models.config import Activation

ACTIVATION: dict[Activation, Callable[[Builder, str, Value], Value]] = {
    Activation.GELU: lower_gelu,
    Activation.RELU: lower_relu,
    Activation.QUAD: lower_quad,
    Activation.IDENTITY: lower_identity,
}

__all__ = ["ACTIVATION"]
