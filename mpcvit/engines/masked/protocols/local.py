"""Linear maps on masked wires: every party for itself, with nothing to deal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask, tensor_mask
from mpcvit.engines.masked.wires import Masked, Step, Wire, masked, share_of
from mpcvit.engines.shared import shared
from mpcvit.ops import TensorType
from mpcvit.ops.linear_map import LinearMap


@dataclass(frozen=True)
class LocalProtocol(Protocol):
    """A linear map on wires: Masked if all inputs are, else Shared."""

    op: LinearMap
    shapes: tuple[tuple[int, ...], ...]
    forms: tuple[Form, ...]

    @property
    def form(self) -> Form:  # type: ignore[override]
        return Form.MASKED if set(self.forms) == {Form.MASKED} else Form.SHARED

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        if self.form is Form.MASKED:
            return Dealt(self.op.linear(*map(dealt_mask, inputs)))
        offsets = [x if form is Form.SHARED else None for x, form in zip(inputs, self.forms, strict=True)]
        if all(offset is None for offset in offsets):
            return Dealt()
        zeros = (torch.zeros((1, *shape), dtype=torch.int64) for shape in self.shapes)
        return Dealt(self.op.linear(*(z if x is None else x for x, z in zip(offsets, zeros, strict=True))))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        if self.form is Form.SHARED:
            return Prepared(None)
        return Prepared(None, mask=self.op.linear(*map(tensor_mask, inputs)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        if self.form is Form.MASKED:
            values = masked(*inputs)
            mask = self.op.linear(*(x.mask for x in values))
            return Masked(self.op.reference(*(x.hat for x in values)), mask)
        apply = self.op.reference if party == 0 else self.op.linear
        return shared(apply(*(share_of(x, party) for x in inputs)))


@runs(LinearMap, masked=False)  # type: ignore[type-abstract]  # every op below it
def linear_map(op: LinearMap, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    return [LocalProtocol(op, tuple(x.shape for x in inputs), tuple(forms))]
