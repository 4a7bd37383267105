"""What running something costs, exactly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Cost of an op, a protocol step or a whole Program.

    Attributes:
        rounds: sequential message exchanges between compute parties.
        bytes_sent: online payload bytes that each party sends to all others, in party order.
        material_bytes: bytes that the dealer sends to each party.
        macs: multiply-accumulates in Z_2^64 that the op's definition needs (each party does a small multiple).
        comparisons: elements that go through a secure comparison.
    """

    rounds: int
    bytes_sent: tuple[int, ...]
    material_bytes: tuple[int, ...]
    macs: int = 0
    comparisons: int = 0

    @classmethod
    def free(cls, parties: int) -> Cost:
        """Return the cost of a local step."""
        return cls(0, (0,) * parties, (0,) * parties)

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other."""
        return Cost(
            self.rounds + other.rounds,
            tuple(a + b for a, b in zip(self.bytes_sent, other.bytes_sent, strict=True)),
            tuple(a + b for a, b in zip(self.material_bytes, other.material_bytes, strict=True)),
            self.macs + other.macs,
            self.comparisons + other.comparisons,
        )
