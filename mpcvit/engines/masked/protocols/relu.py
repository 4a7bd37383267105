"""The ways to run ReLU: by one opened bit, in no round, or by one-hot blocks."""

from __future__ import annotations

from collections.abc import Sequence

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.protocol import Form, Protocol
from mpcvit.engines.masked.protocols.relu_by_bit import ReluByBit
from mpcvit.engines.masked.protocols.relu_by_dcf import ReluByDcf
from mpcvit.engines.masked.protocols.relu_by_one_hot import BLOCK_WIDTHS, ReluByOneHot
from mpcvit.ops import Relu, TensorType
from mpcvit.ops.sign import SignWindow


@runs(Relu)
def relu(op: Relu, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return all protocols to choose from."""
    (x,) = inputs
    window = SignWindow.of(x.qtype.code_bound, op.drop)
    one_hot = (ReluByOneHot(x.shape, window, width) for width in BLOCK_WIDTHS)
    return [ReluByBit(x.shape, window), ReluByDcf(x.shape, window), *one_hot]
