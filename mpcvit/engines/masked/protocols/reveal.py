"""The end of a Program: shares of the output that add up to it, for the client alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.engines.masked.layout import Layout, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side
from mpcvit.engines.masked.wires import Step, Wire, share_of
from mpcvit.engines.shared import shared
from mpcvit.ops.types import Shape


@dataclass(frozen=True)
class Reveal(Protocol):
    """Takes the dealer's offset off a Shared output. Opens nothing: only the client joins the result."""

    shape: Shape
    source: Form

    def layout(self) -> Layout:
        return (SharedWords((1, *self.shape)),)

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        (offset,) = inputs
        known = offset is not None and self.source is Form.SHARED
        return Dealt(sent=(offset if known else torch.zeros((1, *self.shape), dtype=torch.int64),))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        (offset,) = taken
        return Prepared(offset)

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (z,) = inputs
        return shared(share_of(z, party) - prepared.state)
