"""Picking by rank in no round: a DPF per candidate, expanded over the places before the inference (DESIGN 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.fss import unit_vector
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Step, Wire, shared, tensor_of, words

#: Members of a group whose places a DPF can tell apart.
MAX_GROUP = 1 << unit_vector.MAX_BITS


@dataclass(frozen=True)
class PickByDpf(Protocol):
    """Shares of (1, nu) at the low bits of the rank's mask, nu the value's mask; read at the masked rank less a place.

    A rank is rank^ - mu, so it equals p if the mask's low bits are those of rank^ - p. There the shares open to 1 and
    nu, and value^ - nu is the value: [rank = p] value^ - [rank = p] nu, added up over the group.

    Attributes:
        grouping: of the candidates.
        top: places that each group keeps.
        with_values: whether there is a second input; else the candidates' positions are picked.
    """

    grouping: Grouping
    top: int
    with_values: bool

    @property
    def _bits(self) -> int:
        return max((self.grouping.largest - 1).bit_length(), 1)

    @property
    def _payload(self) -> int:
        return 2 if self.with_values else 1

    def openings(self) -> tuple[int, ...]:
        return ()

    def material(self) -> tuple[int, int]:
        key = unit_vector.key_bytes(self._bits, self._payload) * self.grouping.count
        return key, key

    def expanded_bytes(self) -> int:
        return 8 * self.grouping.count * self._payload << self._bits

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        rank_mask, *value_masks = inputs
        assert rank_mask is not None  # noqa: S101 - Masked by plan
        payload = [np.ones(self.grouping.count, dtype=np.uint64)]
        payload += [words(mask) for mask in value_masks if mask is not None]
        tree_hash = TreeHash.for_session(dealing.session)
        alpha = words(rank_mask) & np.uint64((1 << self._bits) - 1)
        roots = dealing.seeds(self.grouping.count)
        key, leaf = unit_vector.deal(tree_hash, alpha, self._bits, np.stack(payload, axis=1), roots)
        dealing.publish(key)
        dealing.publish(leaf)
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        root = material.seeds(self.grouping.count)
        key = material.publish((self._bits - 1, self.grouping.count, 2))
        leaf = material.publish((self.grouping.count, self._payload, 2))
        tree_hash = TreeHash.for_session(material.session)
        return Prepared(unit_vector.expand(tree_hash, material.party, root, key, leaf, self._bits))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        ranks, *values = inputs
        candidates, places, outputs = self.grouping.places(self.top)
        index = (ranks.hat[0, candidates] - places) & ((1 << self._bits) - 1)
        read = prepared.state[candidates.numpy(), :, index.numpy()]
        terms = tensor_of(np.ascontiguousarray(read), read.shape)
        picked = terms[:, 0] * (values[0].hat[0, candidates] if values else candidates)
        if values:
            picked = picked - terms[:, 1]
        total = torch.zeros((1, self.grouping.kept(self.top)), dtype=torch.int64)
        return shared(total.index_add_(-1, outputs, picked[None]))
