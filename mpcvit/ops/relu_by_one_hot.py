"""ReLU with the sign from one-hot blocks: the least material, no AES, in a few rounds of packed bits (DESIGN 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcvit.fss import onehot
from mpcvit.ops.relu_by_sign import Comparison, ReluBySign
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Bits, Opening, Words

#: Seconds of one core per element and block, roughly.
_BLOCK_S = 8e-9


@dataclass(frozen=True)
class ReluByOneHot(ReluBySign):
    """The mask's bits come in blocks, each one-hot and XOR-shared; a tree of ANDs joins them, a round per level.

    Only party 1 gets bytes: the one-hot vectors and a bit per AND. See :mod:`mpcvit.fss.onehot`.

    Attributes:
        width: bits per block, 1 to 8.
    """

    width: int

    @property
    def _pairs(self) -> tuple[int, ...]:
        return onehot.pairs_per_level(self.window.width, self.width)

    @property
    def _key_bytes(self) -> int:
        return onehot.key_bytes(self.window.width, self.width)

    def comparison_openings(self) -> tuple[int, ...]:
        return tuple(_packed(onehot.opened_bits(pairs) * self.size) for pairs in self._pairs)

    def comparison_material(self) -> tuple[int, int]:
        products = sum(_packed(onehot.and_gates(pairs) * self.size) for pairs in self._pairs)
        return 0, self._key_bytes * self.size + products

    def online_work_s(self) -> float:
        return self.size * len(onehot.block_widths(self.window.width, self.width)) * _BLOCK_S

    def deal_comparison(self, dealing: NodeDealing, low: Words) -> None:
        packed = onehot.deal(low, self.window.width, self.width)
        dealing.share_bits(packed.reshape(-1), 8 * packed.size)
        for pairs in self._pairs:
            a, b = self._split(dealing.random_bits(onehot.opened_bits(pairs) * self.size), pairs)
            products = onehot.triple_products(a, b)
            dealing.share_bits(np.packbits(products), products.size)

    def take_comparison(self, material: NodeMaterial) -> Any:
        packed = material.share_bits(8 * self._key_bytes * self.size).reshape(self.size, self._key_bytes)
        triples = []
        for pairs in self._pairs:
            a, b = self._split(material.random_bits(onehot.opened_bits(pairs) * self.size), pairs)
            gates = onehot.and_gates(pairs)
            triples.append((a, b, self._rows(material.share_bits(gates * self.size), gates)))
        return packed, triples

    def compare(self, party: int, state: Any, low: Words) -> Comparison:
        packed, triples = state
        g, p = onehot.local_blocks(packed, low, self.window.width, self.width)
        for a, b, c in triples:
            masked = onehot.mask_level(g, p, a, b)
            opened = yield Opening(np.packbits(masked))
            g, p = onehot.combine_level(party, self._rows(opened, len(masked)), g, p, a, b, c)
        bit: Bits = g[0]
        return bit

    def _split(self, bits: Bits, pairs: int) -> tuple[Bits, Bits]:
        """The a and b of a level's triples."""
        rows = self._rows(bits, onehot.opened_bits(pairs))
        return rows[:pairs], rows[pairs:]

    def _rows(self, bits: Bits, count: int) -> Bits:
        """Packed bits as uint8[count, N]."""
        return np.unpackbits(bits, count=count * self.size).reshape(count, self.size)


def _packed(bits: int) -> int:
    """Bytes of so many packed bits."""
    return -(-bits // 8)
