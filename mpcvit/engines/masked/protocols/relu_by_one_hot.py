"""ReLU with the sign from one-hot blocks: the least material, no AES, in a few rounds of packed bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcvit.engines.masked.layout import Layout, RandomBits, SharedBits, packed_bytes
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Side
from mpcvit.engines.masked.protocols.relu_by_sign import Comparison, ReluBySign
from mpcvit.engines.masked.wires import BitArray, Opening
from mpcvit.fss import onehot
from mpcvit.fss.checks import Words

#: BitArray per block that are worth a try: the least material, and fewer rounds.
BLOCK_WIDTHS = (4, 8)
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
        return tuple(packed_bytes(onehot.opened_bits(pairs) * self.size) for pairs in self._pairs)

    def comparison_layout(self) -> Layout:
        return SharedBits(8 * self._key_bytes * self.size), *map(self._triples_layout, self._pairs)

    def _triples_layout(self, pairs: int) -> Layout:
        """Return the a and b of a level's triples, then their products."""
        return RandomBits(onehot.opened_bits(pairs) * self.size), SharedBits(onehot.and_gates(pairs) * self.size)

    def online_work_s(self) -> float:
        return self.size * len(onehot.block_widths(self.window.width, self.width)) * _BLOCK_S

    def deal_comparison(self, session: bytes, drawn: Values, low: Words) -> Values:
        sent = [onehot.deal(low, self.window.width, self.width).reshape(-1)]
        for pairs, (bits,) in zip(self._pairs, drawn, strict=True):
            sent.append(np.packbits(onehot.triple_products(*self._split(bits, pairs))))
        return tuple(sent)

    def prepare_comparison(self, side: Side, taken: Values) -> Any:
        packed, *levels = taken
        triples = [
            (*self._split(bits, pairs), self._rows(products, onehot.and_gates(pairs)))
            for pairs, (bits, products) in zip(self._pairs, levels, strict=True)
        ]
        return packed.reshape(self.size, self._key_bytes), triples

    def compare(self, party: int, state: Any, low: Words) -> Comparison:
        packed, triples = state
        g, p = onehot.local_blocks(packed, low, self.window.width, self.width)
        for a, b, c in triples:
            masked = onehot.mask_level(g, p, a, b)
            opened = yield Opening(np.packbits(masked))
            g, p = onehot.combine_level(party, self._rows(opened, len(masked)), g, p, a, b, c)
        bit: BitArray = g[0]
        return bit

    def _split(self, bits: BitArray, pairs: int) -> tuple[BitArray, BitArray]:
        """Return the a and b of a level's triples."""
        rows = self._rows(bits, onehot.opened_bits(pairs))
        return rows[:pairs], rows[pairs:]

    def _rows(self, bits: BitArray, count: int) -> BitArray:
        """Return packed bits as uint8[count, N]."""
        return np.unpackbits(bits, count=count * self.size).reshape(count, self.size)
