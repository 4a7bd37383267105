"""MLP activations, one file per kind, and the gates that say where they are applied.

Axes: B batch, N tokens, M channels of the MLP (``hidden``).
"""

from torch import nn

from mpcvit.members import members
from mpcvit.models.activation.gated import HardGate, RelaxedGate
from mpcvit.models.activation.quad import Quad
from mpcvit.models.kinds import Activation

#: Made without arguments: one block's activation, a module [B, N, M] -> [B, N, M].
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    one.kind: one
    for one in members(__name__, nn.Module)
    if hasattr(one, "kind")  # gates are no activations
}

__all__ = ["ACTIVATIONS", "HardGate", "Quad", "RelaxedGate"]
