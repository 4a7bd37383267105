"""What a protocol's material consists of, stated once.

A layout names the items in the order in which they are drawn and sent. Its bytes, the dealer's writer and a party's
reader follow from it (:mod:`mpcvit.engines.masked.material`). Dealer and parties draw from one stream per party, which
belongs to the step: whatever can be pseudo-random comes from there, and only the rest is sent.

    item                 the dealer            a party gets                bytes to party 0 / 1
    RandomWords(shape)   draws int64 words     its additive share          0 / 0
    RandomBits(count)    draws packed bits     its XOR share               0 / 0
    Seeds(count)         draws both roots      its own root                0 / 0
    Shuffle(count)       draws a permutation   nothing                     0 / 0
    SharedWords(shape)   gives int64 words     an additive share           0 / 8 per word
    SharedBits(count)    gives packed bits     an XOR share                0 / 1 per 8 bits
    CommonWords(shape)   gives uint64 words    the words                   8 per word / 8 per word

Bits are packed as by ``np.packbits``. The first four are drawn items, the last three sent items.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mpcvit.engines.masked.wires import BitArray
from mpcvit.fss.checks import Words
from mpcvit.ops.types import Shape
from mpcvit.ring.prg import Stream

Layout = tuple["DrawnItem | SentItem | Layout", ...]

_SEED_MASK = np.uint64(0xFFFFFFFFFFFFFFFC)  # two low bits of a DPF seed's first word are control bits


class Item(ABC):
    """One value of a material."""

    @property
    @abstractmethod
    def sent_bytes(self) -> tuple[int, int]:
        """Bytes that the dealer sends to party 0 and to party 1."""

    @abstractmethod
    def read(self, party: int, stream: Stream, sent: memoryview) -> Any:
        """Return what a party gets: from its stream, or from what it was sent."""


class DrawnItem(Item):
    """Comes out of both parties' streams; the dealer has both. Nothing is sent."""

    @property
    def sent_bytes(self) -> tuple[int, int]:
        return 0, 0

    def read(self, party: int, stream: Stream, sent: memoryview) -> Any:
        return self.own(stream)

    @abstractmethod
    def own(self, stream: Stream) -> Any:
        """Return a party's part, from its stream."""

    @abstractmethod
    def joined(self, first: Stream, second: Stream) -> Any:
        """Return what the dealer knows, from both parties' streams."""


class SentItem(Item):
    """An array that the dealer computes.

    Attributes:
        dtype: of its elements.
    """

    dtype: ClassVar[npt.DTypeLike]

    @property
    @abstractmethod
    def array_shape(self) -> Shape:
        """Shape of the array."""

    @property
    def array_bytes(self) -> int:
        """Bytes of the array."""
        return np.dtype(self.dtype).itemsize * math.prod(self.array_shape)

    @abstractmethod
    def pad(self, stream: Stream) -> Any:
        """Return party 0's share, from its stream; None if the array is not shared."""

    @abstractmethod
    def encode(self, array: npt.NDArray[Any], pad: Any) -> tuple[bytes, bytes]:
        """Return the bytes for party 0 and for party 1."""


class SharedItem(SentItem):
    """An array in two shares: party 0's is pseudo-random, party 1's is sent."""

    @property
    def sent_bytes(self) -> tuple[int, int]:
        return 0, self.array_bytes

    def read(self, party: int, stream: Stream, sent: memoryview) -> Any:
        return self.pad(stream) if party == 0 else self.decode(sent)

    @abstractmethod
    def decode(self, sent: memoryview) -> Any:
        """Return party 1's share."""


@dataclass(frozen=True)
class RandomWords(DrawnItem):
    """Uniform int64[shape] of which each party has an additive share."""

    shape: Shape

    def own(self, stream: Stream) -> torch.Tensor:
        return torch.from_numpy(stream.ring(self.shape))

    def joined(self, first: Stream, second: Stream) -> torch.Tensor:
        return self.own(first) + self.own(second)


@dataclass(frozen=True)
class RandomBits(DrawnItem):
    """``count`` uniform bits, packed, of which each party has an XOR share."""

    count: int

    def own(self, stream: Stream) -> BitArray:
        return stream.draw(packed_bytes(self.count))

    def joined(self, first: Stream, second: Stream) -> BitArray:
        return self.own(first) ^ self.own(second)


@dataclass(frozen=True)
class Seeds(DrawnItem):
    """Root seeds uint64[count, 2] of each party's function shares; a party knows its own."""

    count: int

    def own(self, stream: Stream) -> Words:
        seeds = stream.draw(16 * self.count).view(np.uint64).reshape(self.count, 2)
        seeds[:, 0] &= _SEED_MASK
        return seeds

    def joined(self, first: Stream, second: Stream) -> tuple[Words, Words]:
        return self.own(first), self.own(second)


@dataclass(frozen=True)
class Shuffle(DrawnItem):
    """A uniform permutation of ``count`` positions, int64[count], that no single party knows.

    It sorts 128-bit keys, each the sum of words of both parties: one party's words say nothing about a key. Two keys
    are equal, and their order then not random, with a probability below count**2 / 2**129.
    """

    count: int

    def own(self, stream: Stream) -> None:
        self._keys.own(stream)

    def joined(self, first: Stream, second: Stream) -> torch.Tensor:
        return torch.from_numpy(np.lexsort(self._keys.joined(first, second).numpy()))

    @property
    def _keys(self) -> RandomWords:
        return RandomWords((2, self.count))


@dataclass(frozen=True)
class SharedWords(SharedItem):
    """int64[shape] in additive shares."""

    shape: Shape
    dtype = np.int64

    @property
    def array_shape(self) -> Shape:
        return self.shape

    def pad(self, stream: Stream) -> torch.Tensor:
        return torch.from_numpy(stream.ring(self.shape))

    def encode(self, array: npt.NDArray[Any], pad: torch.Tensor) -> tuple[bytes, bytes]:
        return b"", (array - pad.numpy()).tobytes()

    def decode(self, sent: memoryview) -> torch.Tensor:
        return torch.from_numpy(np.frombuffer(sent, dtype=np.int64).reshape(self.shape).copy())


@dataclass(frozen=True)
class SharedBits(SharedItem):
    """``count`` bits, packed, in XOR shares."""

    count: int
    dtype = np.uint8

    @property
    def array_shape(self) -> Shape:
        return (packed_bytes(self.count),)

    def pad(self, stream: Stream) -> BitArray:
        return stream.draw(packed_bytes(self.count))

    def encode(self, array: npt.NDArray[Any], pad: BitArray) -> tuple[bytes, bytes]:
        return b"", (array ^ pad).tobytes()

    def decode(self, sent: memoryview) -> BitArray:
        return np.frombuffer(sent, dtype=np.uint8)


@dataclass(frozen=True)
class CommonWords(SentItem):
    """uint64[shape] that both parties get: corrections of function shares."""

    shape: Shape
    dtype = np.uint64

    @property
    def array_shape(self) -> Shape:
        return self.shape

    @property
    def sent_bytes(self) -> tuple[int, int]:
        return self.array_bytes, self.array_bytes

    def pad(self, stream: Stream) -> None:
        return None

    def encode(self, array: npt.NDArray[Any], pad: None) -> tuple[bytes, bytes]:
        raw = array.tobytes()
        return raw, raw

    def read(self, party: int, stream: Stream, sent: memoryview) -> Words:
        return np.frombuffer(sent, dtype=np.uint64).reshape(self.shape)


def sent_bytes(part: Layout | Item) -> tuple[int, int]:
    """Return the bytes that the dealer sends to party 0 and to party 1 for a layout or an item."""
    if isinstance(part, Item):
        return part.sent_bytes
    both = [sent_bytes(one) for one in part]
    return sum(first for first, _ in both), sum(second for _, second in both)


def packed_bytes(bits: int) -> int:
    """Return the bytes of so many packed bits."""
    return -(-bits // 8)
