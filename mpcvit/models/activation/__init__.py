"""MLP activations, one file per kind, and the gates that say where they are applied.

Axes: B batch, N tokens, M channels of the MLP (``hidden``).
"""

from collections.abc import Callable

from torch import nn

from mpcvit.models.activation.gated import HardGate, RelaxedGate
from mpcvit.models.activation.gelu import Gelu
from mpcvit.models.activation.identity import Identity
from mpcvit.models.activation.quad import Quad
from mpcvit.models.activation.relu import Relu
from mpcvit.models.config import Activation

#: Makes one block's activation, a module [B, N, M] -> [B, N, M].
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    Activation.GELU: Gelu,
    Activation.RELU: Relu,
    Activation.QUAD: Quad,
    Activation.IDENTITY: Identity,
}

__all__ = ["ACTIVATIONS", "Gelu", "HardGate", "Identity", "Quad", "RelaxedGate", "Relu"]
