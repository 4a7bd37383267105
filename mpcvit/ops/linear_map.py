"""The base of ops that are linear (or affine) maps: local in every executor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Known, Prepared, Protocol, Secret, tensor_mask
from mpcvit.ops.types import TensorType
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.session import Session
from mpcvit.session.wires import Masked, Step, Wire, share_of, shared


class LinearMap(Op):
    """An op that each party applies to its shares, and to masked values and masks alike. No communication, exact."""

    @abstractmethod
    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The map without its constant, on a batch."""

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        return self.linear(*inputs)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        apply = self.reference if session.index == 0 else self.linear
        return shared(apply(*(x.share[None] for x in inputs))[0])

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        return [LocalProtocol(self, tuple(x.shape for x in inputs), tuple(forms))]


@dataclass(frozen=True)
class LocalProtocol(Protocol):
    """A linear map on wires: Masked if all inputs are, else Shared."""

    op: LinearMap
    shapes: tuple[tuple[int, ...], ...]
    forms: tuple[Form, ...]

    @property
    def form(self) -> Form:  # type: ignore[override]
        return Form.MASKED if set(self.forms) == {Form.MASKED} else Form.SHARED

    def openings(self) -> tuple[int, ...]:
        return ()

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        if self.form is Form.MASKED:
            return self.op.linear(*(mask for mask in inputs if mask is not None))
        offsets = [x if form is Form.SHARED else None for x, form in zip(inputs, self.forms, strict=True)]
        if all(offset is None for offset in offsets):
            return None
        zeros = (torch.zeros((1, *shape), dtype=torch.int64) for shape in self.shapes)
        return self.op.linear(*(z if x is None else x for x, z in zip(offsets, zeros, strict=True)))

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        if self.form is Form.SHARED:
            return Prepared(None)
        return Prepared(None, mask=self.op.linear(*map(tensor_mask, inputs)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        if self.form is Form.MASKED:
            mask = self.op.linear(*(x.mask for x in inputs))
            return Masked(self.op.reference(*(x.hat for x in inputs)), mask)
        apply = self.op.reference if party == 0 else self.op.linear
        return shared(apply(*(share_of(x, party) for x in inputs)))
