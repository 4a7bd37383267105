"""From Shared to Masked: one opening."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mpcvit.engines.masked.layout import Layout, RandomWords, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, tensor_mask
from mpcvit.engines.masked.wires import (
    Masked,
    Opening,
    Step,
    Wire,
    share_of,
    tensor_of,
    words,
)
from mpcvit.ops.types import Shape


@dataclass(frozen=True)
class PlainOpening(Protocol):
    """Opens z + mu of a Shared z, for a uniform mu. Absorbs the offset of z."""

    shape: Shape
    form = Form.MASKED

    def openings(self) -> tuple[int, ...]:
        return (8 * math.prod(self.shape),)

    def layout(self) -> Layout:
        return RandomWords((1, *self.shape)), SharedWords((1, *self.shape))

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        ((offset,), (mask,)) = inputs, drawn
        mask = mask if offset is None else mask + offset
        return Dealt(mask, (mask,))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        noise, mask = taken
        return Prepared(noise, mask)

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (z,) = inputs
        opened = yield Opening(words(share_of(z, party) + prepared.state))
        return Masked(tensor_of(opened, (1, *self.shape)), tensor_mask(prepared.mask))
