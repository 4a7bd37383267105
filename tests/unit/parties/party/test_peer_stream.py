"""Frames between parties, in chunks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mpcvit.errors import (
    PeerLost,
    PeerTimeout,
    ProtocolViolation,
)
from mpcvit.transport.link import Frame
from mpcvit.wire.codec import CHUNK_BYTES
from mpcvit.wire.v1 import peer_pb2
from parties.party.peer_stream import INBOX_FRAMES, PeerStream


def _stream(stall_s: float = 5.0, largest: int = 4 * CHUNK_BYTES) -> PeerStream:
    return PeerStream(1, stall_s=stall_s, largest_frame=largest)


def test_frames_cross_a_stream_in_chunks() -> None:
    """Small, empty and large frames arrive whole and in order; heartbeats are not frames."""
    sender, receiver = _stream(), _stream()
    frames = [Frame(0, "a", b"x"), Frame(1, "b", b""), Frame(2, "c", bytes(3 * CHUNK_BYTES + 5)), Frame(3, "d", b"yz")]
    for frame in frames:
        sender.put(frame)
    sender.finish()
    messages = list(sender.outgoing(peer_pb2.ExchangeRequest))
    messages.insert(1, peer_pb2.ExchangeRequest(heartbeat=peer_pb2.Heartbeat()))
    assert len(messages) == 4 + 4
    receiver.consume(messages)
    assert [receiver.get(1) for _ in frames] == frames
    with pytest.raises(PeerLost, match="end of the stream"):
        receiver.get(1)


def test_a_peer_that_runs_ahead_is_not_read() -> None:
    """So many frames wait and no more; they arrive in order once they are taken, and a finished stream keeps none."""
    frames, pulled = [Frame(number, "a", bytes([number])) for number in range(60)], []

    def messages() -> Iterator[peer_pb2.ExchangeRequest]:
        for frame in frames:
            pulled.append(frame)
            yield _chunk(frame.sequence, frame.tag, 1, frame.payload)

    receiver = _stream()
    reader = threading.Thread(target=receiver.consume, args=(messages(),))
    reader.start()
    assert receiver.get(5) == frames[0]
    deadline_s = time.monotonic() + 5
    while len(pulled) < INBOX_FRAMES + 2:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(pulled) == INBOX_FRAMES + 2  # the one that was taken, those that wait, one that finds no room
    assert [receiver.get(5) for _ in frames[1:31]] == frames[1:31]
    assert reader.is_alive()
    receiver.finish()
    reader.join(5)
    assert not reader.is_alive()
    assert not receiver._inbox


def test_a_late_reader_does_not_call_a_busy_peer_silent() -> None:
    """Nothing is heard while there is no room; that is not the peer's silence."""
    receiver = _stream(stall_s=0.5)
    frames = [_chunk(number, "a", 1, b"x") for number in range(INBOX_FRAMES + 1)]
    sent = threading.Event()

    def messages() -> Iterator[peer_pb2.ExchangeRequest]:
        yield from frames
        sent.wait(5)

    threading.Thread(target=receiver.consume, args=(messages(),), daemon=True).start()
    time.sleep(0.7)
    for _ in frames:
        receiver.get(5)
    with pytest.raises(PeerTimeout, match="no message for"):
        receiver.get(0.2)
    sent.set()


def _chunk(sequence: int, tag: str, frame_bytes: int, payload: bytes) -> peer_pb2.ExchangeRequest:
    chunk = peer_pb2.FrameChunk(sequence=sequence, tag=tag, frame_bytes=frame_bytes, payload=payload)
    return peer_pb2.ExchangeRequest(chunk=chunk)


@pytest.mark.parametrize(
    "messages",
    [
        [_chunk(0, "a", 1000, b"x")],
        [_chunk(0, "a", 2, b"xyz")],
        [_chunk(0, "a", 4, b"xy"), _chunk(0, "b", 4, b"xy")],
        [_chunk(0, "a", 4, b"xy"), _chunk(1, "a", 4, b"xy")],
    ],
)
def test_lying_chunks_are_violations(messages: list) -> None:
    """Announced beyond the limit, longer than announced, or mixed with another frame."""
    receiver = _stream(largest=100)
    receiver.consume(messages)
    with pytest.raises(ProtocolViolation, match="party 1"):
        receiver.get(1)


def test_silence_is_noticed() -> None:
    """Without heartbeats the stall deadline counts; with them the patience for a message."""
    with pytest.raises(PeerTimeout, match="no sign of life"):
        _stream(stall_s=0.1).get(10)
    with pytest.raises(PeerTimeout, match="no message for"):
        _stream(stall_s=10).get(0.1)


def test_an_idle_stream_sends_heartbeats() -> None:
    """A stream with nothing to say shows that it lives."""
    stream = _stream()
    outgoing = stream.outgoing(peer_pb2.ExchangeRequest)
    assert next(outgoing).WhichOneof("part") == "heartbeat"
    stream.finish()
    assert list(outgoing) == []
