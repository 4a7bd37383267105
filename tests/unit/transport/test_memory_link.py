"""Links: rounds, bytes and order; what a peer may not do."""

from __future__ import annotations

import pytest

from mpcvit.errors import (
    PeerLost,
    PeerTimeout,
    ProtocolViolation,
)
from mpcvit.transport.link import Frame
from mpcvit.transport.memory_link import MemoryLink, memory_links
from mpcvit.transport.threads import run_parties


def test_exchange_counts_rounds_bytes_and_order() -> None:
    """Three parties see each other's payloads in party order; each counts one round and its own bytes."""

    def party(link: MemoryLink) -> list[bytes]:
        payloads = [bytes(p) for p in link.exchange("tag", bytes([link.index] * 5))]
        assert (link.trace.of("tag").rounds, link.trace.of("tag").bytes_sent) == (1, 10)
        assert link.trace.of("tag").bytes_received == 10
        return payloads

    assert run_parties(3, party) == [[b"\0" * 5, b"\1" * 5, b"\2" * 5]] * 3


def test_gather_is_one_way() -> None:
    """Only the target receives; the target sends nothing."""

    def party(link: MemoryLink) -> tuple[int, int]:
        payloads = link.gather("tag", bytes([link.index]), to=0)
        return len(payloads), link.trace.of("tag").bytes_sent

    assert run_parties(3, party) == [(3, 0), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    "frame", [Frame(0, "other", b"12"), Frame(1, "tag", b"12"), Frame(0, "tag", b"123"), Frame(0, "tag", b"")]
)
def test_wrong_tag_sequence_or_length_is_a_violation(frame: Frame) -> None:
    """A message that is not the expected one is refused, with both in the error."""
    first, second = memory_links(2)
    second._put(0, frame)
    with pytest.raises(ProtocolViolation, match="message 0 'tag' of 2 bytes"):
        first.exchange("tag", b"ab")


def test_silence_and_loss_are_typed() -> None:
    """A silent party is a timeout, a closed link is a loss."""
    first, second = memory_links(2, timeout_s=0.05)
    with pytest.raises(PeerTimeout):
        first.exchange("tag", b"x")
    second.close()
    with pytest.raises(PeerLost):
        first.exchange("tag", b"x")


def test_frames_hide_their_payload() -> None:
    """repr of a frame tells length, not content."""
    assert "6 bytes hidden" in repr(Frame(0, "tag", b"secret"))
    assert "secret" not in repr(Frame(0, "tag", b"secret"))
