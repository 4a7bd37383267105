"""The square of a Masked wire: no round, no material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.wires import Step, Wire, masked
from mpcvit.engines.shared import shared
from mpcvit.ops import TensorType
from mpcvit.ops.square import Square


@dataclass(frozen=True)
class MaskedSquare(Protocol):
    """x**2 of a Masked wire: x^^2 - 2 x^ mu + mu^2, the last term left to the next opening."""

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        return Dealt(-(mask * mask))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        return Prepared(None)

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = masked(*inputs)
        cross = -2 * x.hat * x.mask
        return shared(cross + x.hat * x.hat if party == 0 else cross)


@runs(Square)
def square(op: Square, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    return [MaskedSquare()]
