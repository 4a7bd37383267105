"""The correlated randomness of one node: dealt on one side, taken on the other, call by call alike.

A protocol's ``deal`` and ``prepare`` make the same calls in the same order, the first on :class:`NodeDealing`, the
second on :class:`NodeMaterial`. Whatever can be pseudo-random comes from the parties' own streams; only the rest is
sent.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from mpcvit.errors import DealerLost
from mpcvit.ring.prg import Stream
from mpcvit.session.wires import Bits, Words

_SEED_MASK = np.uint64(0xFFFFFFFFFFFFFFFC)  # two low bits of a DPF seed's first word are control bits

Shape = tuple[int, ...]


def _ring(stream: Stream, shape: Shape) -> torch.Tensor:
    return torch.from_numpy(stream.ring(shape))


def _packed_bits(stream: Stream, count: int) -> Bits:
    return stream.draw(-(-count // 8))


def _seeds(stream: Stream, count: int) -> Words:
    seeds = stream.draw(16 * count).view(np.uint64).reshape(count, 2)
    seeds[:, 0] &= _SEED_MASK
    return seeds


class NodeDealing:
    """The dealer's side.

    Attributes:
        session: public bytes that tell this session from all others, for fixed-key hashing.
        sent: the bytes for party 0 and for party 1.
        rounding: what the op adds before it drops bits, for replaying a run in clear; set by protocols that do.
    """

    def __init__(self, streams: tuple[Stream, Stream], session: bytes) -> None:
        self._streams = streams
        self.session = session
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])
        self.rounding: torch.Tensor | None = None

    def random(self, shape: Shape) -> torch.Tensor:
        """A uniform tensor of which each party expands an additive share. Sends nothing."""
        return _ring(self._streams[0], shape) + _ring(self._streams[1], shape)

    def share(self, value: torch.Tensor) -> None:
        """Additive shares of ``value``: 8 bytes per element to party 1."""
        self.sent[1].append((value - _ring(self._streams[0], tuple(value.shape))).numpy().tobytes())

    def share_bits(self, packed: Bits, count: int) -> None:
        """XOR shares of ``count`` bits, packed as by ``np.packbits``: one bit each to party 1."""
        self.sent[1].append((packed ^ _packed_bits(self._streams[0], count)).tobytes())

    def random_bits(self, count: int) -> Bits:
        """Uniform packed bits of which each party expands an XOR share. Sends nothing."""
        return _packed_bits(self._streams[0], count) ^ _packed_bits(self._streams[1], count)

    def seeds(self, count: int) -> tuple[Words, Words]:
        """Root seeds [count, 2] of each party's function shares. Sends nothing."""
        return _seeds(self._streams[0], count), _seeds(self._streams[1], count)

    def permutation(self, count: int) -> torch.Tensor:
        """A uniform permutation of ``count`` positions that no single party knows. Sends nothing.

        It sorts 128-bit keys, each the sum of words of both parties: one party's words say nothing about a key. Two
        keys are equal, and their order then not random, with a probability below count**2 / 2**129.
        """
        return torch.from_numpy(np.lexsort(self.random((2, count)).numpy()))

    def publish(self, words: Words) -> None:
        """Correction words that both parties get."""
        raw = np.ascontiguousarray(words).tobytes()
        self.sent[0].append(raw)
        self.sent[1].append(raw)


class NodeMaterial:
    """One party's side: the same calls give this party's shares.

    Attributes:
        late: whether the step starts at once, so that large states need not be made ahead.

    Raises (all methods):
        DealerLost: the node's bytes end early.
    """

    def __init__(self, party: int, stream: Stream, sent: memoryview, session: bytes, late: bool = False) -> None:
        self.party = party
        self.late = late
        self.session = session
        self._stream = stream
        self._sent = sent
        self._position = 0

    def random(self, shape: Shape) -> torch.Tensor:
        """This party's share of a uniform tensor."""
        return _ring(self._stream, shape)

    def share(self, shape: Shape) -> torch.Tensor:
        """This party's share of what the dealer shared."""
        if self.party == 0:
            return _ring(self._stream, shape)
        raw = self._read(8 * math.prod(shape))
        return torch.from_numpy(np.frombuffer(raw, dtype=np.int64).reshape(shape).copy())

    def share_bits(self, count: int) -> Bits:
        """This party's XOR share of ``count`` packed bits."""
        if self.party == 0:
            return _packed_bits(self._stream, count)
        return np.frombuffer(self._read(-(-count // 8)), dtype=np.uint8)

    def random_bits(self, count: int) -> Bits:
        """This party's XOR share of uniform packed bits."""
        return _packed_bits(self._stream, count)

    def seeds(self, count: int) -> Words:
        """This party's root seeds, [count, 2]."""
        return _seeds(self._stream, count)

    def permutation(self, count: int) -> None:
        """Passes over the words behind a permutation, which is the dealer's secret."""
        self.random((2, count))

    def publish(self, shape: Shape) -> Words:
        """Correction words of ``shape``."""
        return np.frombuffer(self._read(8 * math.prod(shape)), dtype=np.uint64).reshape(shape)

    def finish(self) -> None:
        """Check that everything was taken.

        Raises:
            DealerLost: bytes are left over.
        """
        if self._position != len(self._sent):
            raise self._wrong(self._position)

    def _read(self, count: int) -> memoryview:
        end = self._position + count
        if end > len(self._sent):
            raise self._wrong(end)
        piece = self._sent[self._position : end]
        self._position = end
        return piece

    def _wrong(self, needed: int) -> DealerLost:
        return DealerLost(
            f"{len(self._sent)} bytes of material for a node",
            expected=f"{needed} bytes",
            remedy="Run the same version of mpcvit at dealer and parties.",
        )
