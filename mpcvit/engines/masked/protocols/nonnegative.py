"""The ways to get a sign as a number: in no round, or by an opened bit after a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.protocol import Form, Protocol
from mpcvit.engines.masked.protocols.nonnegative_by_bit import NonnegativeByBit
from mpcvit.engines.masked.protocols.nonnegative_by_dcf import NonnegativeByDcf
from mpcvit.engines.masked.protocols.relu_by_bit import ReluByBit
from mpcvit.engines.masked.protocols.relu_by_one_hot import BLOCK_WIDTHS, ReluByOneHot
from mpcvit.ops import Nonnegative, Shape, TensorType
from mpcvit.ops.sign import SignWindow


@runs(Nonnegative)
def nonnegative(op: Nonnegative, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return all protocols to choose from."""
    (x,) = inputs
    return sign_protocols(x.shape, x.qtype.code_bound)


def sign_protocols(shape: Shape, code_bound: int) -> list[Protocol]:
    """Return the ways to get [x >= 0] as a number, for Masked codes of at most this magnitude."""
    window = SignWindow.of(code_bound, 0)
    ways = [ReluByBit(shape, window), *(ReluByOneHot(shape, window, width) for width in BLOCK_WIDTHS)]
    return [NonnegativeByDcf(shape, window), *map(NonnegativeByBit, ways)]
