"""The end of a Program: shares of the output that add up to it, for the client alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mpcvit.ops.protocol import Form, Known, Prepared, Protocol, Secret
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Step, Wire, share_of, shared


@dataclass(frozen=True)
class Reveal(Protocol):
    """Takes the dealer's offset off a Shared output. Opens nothing: only the client joins the result."""

    shape: Shape
    source: Form

    def openings(self) -> tuple[int, ...]:
        return ()

    def material(self) -> tuple[int, int]:
        return 0, 8 * math.prod(self.shape)

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (offset,) = inputs
        known = offset is not None and self.source is Form.SHARED
        dealing.share(offset if known and offset is not None else torch.zeros((1, *self.shape), dtype=torch.int64))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        return Prepared(material.share((1, *self.shape)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (z,) = inputs
        return shared(share_of(z, party) - prepared.state)
