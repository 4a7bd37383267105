"""Frames over one bidirectional gRPC stream: chunked, reassembled, with heartbeats and a stall deadline."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc

from mpcvit.errors import MpcvitError, PeerLost, PeerTimeout, ProtocolViolation
from mpcvit.session.link import Frame
from mpcvit.wire.codec import chunks
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.v1 import peer_pb2

Message = TypeVar("Message", peer_pb2.ExchangeRequest, peer_pb2.ExchangeResponse)
_HEARTBEAT_S = 1.0


class PeerStream:
    """This party's end of the stream to one peer; the same on the calling and on the called side.

    One thread iterates :meth:`outgoing`, one runs :meth:`consume`, the session's thread calls :meth:`put` and
    :meth:`get`.

    Args:
        peer: the peer's number.
        stall_s: silence, heartbeats included, after which the peer counts as stalled.
        largest_frame: bytes; a peer that announces more breaks the protocol before anything is stored.
    """

    def __init__(self, peer: int, *, stall_s: float, largest_frame: int) -> None:
        self.peer = peer
        self._stall_s = stall_s
        self._largest_frame = largest_frame
        self._outbox: queue.SimpleQueue[peer_pb2.FrameChunk | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Frame | MpcvitError] = queue.SimpleQueue()
        self._heard = time.monotonic()

    def put(self, frame: Frame) -> None:
        """Queue ``frame`` for sending."""
        for piece in chunks(frame.payload):
            self._outbox.put(
                peer_pb2.FrameChunk(
                    sequence=frame.sequence, tag=frame.tag, frame_bytes=len(frame.payload), payload=bytes(piece)
                )
            )

    def get(self, patience_s: float) -> Frame:
        """The next frame.

        Raises:
            PeerTimeout: no sign of life for the stall deadline, or no frame for ``patience_s`` seconds.
            PeerLost: the stream ended.
            ProtocolViolation: the peer sent what it must not.
        """
        start = time.monotonic()
        while True:
            try:
                item = self._inbox.get(timeout=0.25)
            except queue.Empty:
                now = time.monotonic()
                if now - self._heard > self._stall_s:
                    raise self._timeout(f"no sign of life for {self._stall_s:g} s") from None
                if now - start > patience_s:
                    raise self._timeout(f"no message for {patience_s:g} s") from None
                continue
            if isinstance(item, MpcvitError):
                self._inbox.put(item)  # whoever asks again gets it again
                raise item
            return item

    def finish(self) -> None:
        """Send what is queued, then end this side of the stream."""
        self._outbox.put(None)

    def fail(self, error: MpcvitError) -> None:
        """Make every further :meth:`get` raise ``error``."""
        self._inbox.put(error)

    def outgoing(self, wrap: Callable[..., Message]) -> Iterator[Message]:
        """Messages to send, in order; a heartbeat whenever there was nothing to send for a second."""
        while True:
            try:
                chunk = self._outbox.get(timeout=_HEARTBEAT_S)
            except queue.Empty:
                yield wrap(heartbeat=peer_pb2.Heartbeat())
                continue
            if chunk is None:
                return
            yield wrap(chunk=chunk)

    def consume(self, messages: Iterable[Any]) -> None:
        """Reassemble frames from ``messages`` until they end, then leave the reason for :meth:`get`."""
        try:
            self._reassemble(messages)
            error: MpcvitError = PeerLost(
                f"the end of the stream from party {self.peer}",
                expected="further messages",
                remedy="Look at that party's log.",
                origin=f"party{self.peer}",
            )
        except MpcvitError as violation:
            error = violation
        except grpc.RpcError as broken:
            error = from_rpc_error(broken, f"party{self.peer}")
        except Exception as broken:  # gRPC's request iterator raises a bare Exception when the call dies
            error = PeerLost(
                f"a broken stream from party {self.peer} ({type(broken).__name__})",
                expected="a live connection",
                remedy="Check the network and that party's log.",
                origin=f"party{self.peer}",
            )
        self._inbox.put(error)

    def _reassemble(self, messages: Iterable[Any]) -> None:
        payload = bytearray()
        first: peer_pb2.FrameChunk | None = None
        for message in messages:
            self._heard = time.monotonic()
            if message.WhichOneof("part") != "chunk":
                continue
            chunk = message.chunk
            first = first or chunk
            same = (chunk.sequence, chunk.tag, chunk.frame_bytes) == (first.sequence, first.tag, first.frame_bytes)
            length = len(payload) + len(chunk.payload)
            if not same or first.frame_bytes > self._largest_frame or length > first.frame_bytes:
                raise ProtocolViolation(
                    f"a chunk of message {chunk.sequence} with {length} of {chunk.frame_bytes} bytes "
                    f"from party {self.peer}",
                    expected=f"whole messages of at most {self._largest_frame} bytes",
                    remedy="Run the same version of mpcvit at all parties.",
                )
            if length == first.frame_bytes and not payload:
                self._inbox.put(Frame(first.sequence, first.tag, chunk.payload))
                first = None
                continue
            payload += chunk.payload
            if length == first.frame_bytes:
                self._inbox.put(Frame(first.sequence, first.tag, bytes(payload)))
                first, payload = None, bytearray()

    def _timeout(self, got: str) -> PeerTimeout:
        return PeerTimeout(
            f"{got} from party {self.peer}",
            expected="messages and heartbeats",
            remedy="Check that the party is not overloaded or stopped; raise 'timeouts' if it is merely slow.",
            origin=f"party{self.peer}",
        )
