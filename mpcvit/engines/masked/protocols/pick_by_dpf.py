"""Picking by rank in no round: a DPF per candidate over the places, expanded as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.layout import Layout
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.unit_vector_keys import UnitVectorKeys
from mpcvit.engines.masked.wires import Step, Wire, masked, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.ops import TensorType
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.pick import Pick


@dataclass(frozen=True)
class PickByDpf(Protocol):
    """Shares of (1, nu) at the low bits of the rank's mask, nu the value's mask; read at the masked rank less a place.

    A rank is rank^ - mu, so it equals p if the mask's low bits are those of rank^ - p. There the shares open to 1 and
    nu, and value^ - nu is the value: [rank = p] value^ - [rank = p] nu, added up over the group.

    Attributes:
        grouping: of the candidates.
        top: places that each group keeps.
        with_values: whether there is a second input; else the candidates' positions are picked.
        counted: whether the sum of all [rank = p] comes last.
    """

    grouping: Grouping
    top: int
    with_values: bool
    counted: bool

    @property
    def _keys(self) -> UnitVectorKeys:
        bits = max((self.grouping.largest - 1).bit_length(), 1)
        return UnitVectorKeys(self.grouping.count, bits, 2 if self.with_values else 1)

    def layout(self) -> Layout:
        return self._keys.layout()

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        rank_mask, *value_masks = map(dealt_mask, inputs)
        payload = [np.ones(self.grouping.count, dtype=np.uint64), *map(words, value_masks)]
        return Dealt(sent=self._keys.deal(session, drawn, words(rank_mask), np.stack(payload, axis=1)))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        return Prepared((side.session, taken))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        ranks, *values = masked(*inputs)
        candidates, places, outputs = self.grouping.places(self.top)
        index = (ranks.hat[0, candidates] - places) & ((1 << self._keys.bits) - 1)
        session, taken = prepared.state
        read = self._keys.expand(session, party, taken)[candidates.numpy(), :, index.numpy()]
        terms = tensor_of(np.ascontiguousarray(read), read.shape)
        picked = terms[:, 0] * (values[0].hat[0, candidates] if values else candidates)
        if values:
            picked = picked - terms[:, 1]
        total = torch.zeros((1, self.grouping.kept(self.top)), dtype=torch.int64)
        total.index_add_(-1, outputs, picked[None])
        return shared(torch.cat([total, terms[:, 0].sum().reshape(1, 1)], dim=-1) if self.counted else total)


@runs(Pick)
def pick(op: Pick, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    return [PickByDpf(Grouping(inputs[0].size, op.groups), op.top, len(inputs) == 2, op.counted)]
