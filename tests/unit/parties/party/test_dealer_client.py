"""Material that is read while it comes in."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mpcvit.errors import (
    DealerLost,
    DealerTimeout,
)
from mpcvit.wire.v1 import dealer_pb2
from parties.party.dealer_client import Lease, StreamedMaterial


class FakeCall:
    """A dealer's stream of the given payloads."""

    def __init__(self, *payloads: bytes, delay_s: float = 0.0, first: int = 0) -> None:
        self.payloads, self.delay_s, self.first, self.cancelled = payloads, delay_s, first, False

    def __iter__(self) -> Iterator[dealer_pb2.StreamMaterialResponse]:
        for sequence, payload in enumerate(self.payloads, start=self.first):
            time.sleep(self.delay_s)
            yield dealer_pb2.StreamMaterialResponse(sequence=sequence, payload=payload)

    def cancel(self) -> None:
        self.cancelled = True


def _material(call: FakeCall, length: int, prefetch: int = 100, op_s: float = 2.0) -> StreamedMaterial:
    return StreamedMaterial(
        Lease(dealer_pb2.LeaseMaterialRequest(), bytes(16), bytes(32), length, b""),
        call,
        prefetch_bytes=prefetch,
        op_s=op_s,
        explain=lambda error: DealerLost("x", expected="y", remedy="z"),
    )


def test_material_is_read_across_pieces() -> None:
    """Reads of any size give the bytes in order, whatever the messages' sizes."""
    material = _material(FakeCall(b"abc", b"defgh", b"ij"), 10)
    material.wait_ready(1)
    assert [bytes(material.read(count)) for count in (1, 4, 0, 2, 3)] == [b"a", b"bcde", b"", b"fg", b"hij"]
    assert material.received == 10


def test_the_buffer_is_bounded_but_never_blocks_a_larger_read() -> None:
    """Prefetch stops at its limit; one item larger than the limit still comes through."""
    material = _material(FakeCall(*[b"12345678"] * 10), 80, prefetch=10)
    material.wait_ready(1)
    time.sleep(0.05)
    assert material.received <= 24
    assert len(material.read(64)) == 64
    assert len(material.read(16)) == 16


def test_short_stalled_and_disordered_material_is_typed() -> None:
    """An early end is a loss, a stall a timeout, a wrong order a loss."""
    with pytest.raises(DealerLost, match="after 3 bytes"):
        _material(FakeCall(b"abc"), 10).wait_ready(1)
    with pytest.raises(DealerTimeout):
        _material(FakeCall(b"abc", delay_s=0.5), 3, op_s=0.05).read(3)
    with pytest.raises(DealerTimeout):
        _material(FakeCall(b"abc", delay_s=0.5), 3).wait_ready(0.05)
    with pytest.raises(DealerLost, match="piece 1"):
        _material(FakeCall(b"abc", first=1), 3).read(3)


def test_closing_drops_the_material() -> None:
    """After close nothing is kept and the dealer's stream is cancelled."""
    call = FakeCall(b"abc", b"def")
    material = _material(call, 6)
    material.wait_ready(1)
    material.close()
    assert call.cancelled
    assert not material._pieces
