"""Frames over one bidirectional gRPC stream: chunked, reassembled, with heartbeats and a stall deadline."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc

from mpcvit.errors import MpcvitError, PeerLost, PeerTimeout, ProtocolViolation
from mpcvit.transport.link import Frame
from mpcvit.wire.codec import chunks
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.v1 import peer_pb2
from parties.common.failure import fresh

Message = TypeVar("Message", peer_pb2.ExchangeRequest, peer_pb2.ExchangeResponse)
_HEARTBEAT_S = 1.0
#: Frames that wait to be taken. Protocols are in lockstep: an honest peer is at most a few frames ahead.
INBOX_FRAMES = 8


class PeerStream:
    """This party's end of the stream to one peer; the same on the calling and on the called side.

    One thread iterates :meth:`outgoing`, one runs :meth:`consume`, the session's thread calls :meth:`put` and
    :meth:`get`.

    Args:
        peer: the peer's number.
        stall_s: silence, heartbeats included, after which the peer counts as stalled.
        largest_frame: bytes; a peer that announces more breaks the protocol before anything is stored.
        started: called when the peer says that the session starts.
        ended: called, once, with the reason why nothing will come any more.

    Attributes:
        sent_bytes, received_bytes: payload so far, without framing.

    At most :data:`INBOX_FRAMES` frames wait to be taken. Beyond that nothing is read, and flow control stops the peer.
    """

    def __init__(
        self,
        peer: int,
        *,
        stall_s: float,
        largest_frame: int,
        started: Callable[[], None] = lambda: None,
        ended: Callable[[MpcvitError], None] = lambda error: None,
    ) -> None:
        self.peer = peer
        self.sent_bytes = self.received_bytes = 0
        self._started, self._ended = started, ended
        self._stall_s = stall_s
        self._largest_frame = largest_frame
        self._outbox: queue.SimpleQueue[peer_pb2.FrameChunk | peer_pb2.Start | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._inbox: deque[Frame] = deque()
        self._error: MpcvitError | None = None
        self._closed = False
        self._heard = time.monotonic()

    def start(self) -> None:
        """Tell the peer to run the session now."""
        self._outbox.put(peer_pb2.Start())

    def put(self, frame: Frame) -> None:
        """Queue ``frame`` for sending."""
        self.sent_bytes += len(frame.payload)
        for piece in chunks(frame.payload):
            self._outbox.put(
                peer_pb2.FrameChunk(
                    sequence=frame.sequence, tag=frame.tag, frame_bytes=len(frame.payload), payload=bytes(piece)
                )
            )

    def get(self, patience_s: float) -> Frame:
        """Return the next frame.

        Raises:
            PeerTimeout: no sign of life for the stall deadline, or no frame for ``patience_s`` seconds.
            PeerLost: the stream ended.
            ProtocolViolation: the peer sent what it must not.
        """
        start = time.monotonic()
        with self._changed:
            while not self._changed.wait_for(lambda: self._inbox or self._error, timeout=0.25):
                now = time.monotonic()
                if now - self._heard > self._stall_s:
                    raise self._timeout(f"no sign of life for {self._stall_s:g} s")
                if now - start > patience_s:
                    raise self._timeout(f"no message for {patience_s:g} s")
            if self._inbox:
                frame = self._inbox.popleft()
                self._changed.notify_all()
                return frame
            assert self._error is not None  # noqa: S101 - what was waited for
            raise fresh(self._error)

    def finish(self) -> None:
        """Send what is queued, then end this side of the stream; what still comes is dropped."""
        self._outbox.put(None)
        with self._changed:
            self._closed = True
            self._inbox.clear()
            self._changed.notify_all()

    def fail(self, error: MpcvitError) -> None:
        """Make :meth:`get` raise ``error`` once all frames are taken, and again whenever it is called."""
        with self._changed:
            first, self._error = self._error is None, self._error or fresh(error)
            self._changed.notify_all()
        if first:
            self._ended(self._error)

    def outgoing(self, wrap: Callable[..., Message]) -> Iterator[Message]:
        """Yield messages to send, in order; a heartbeat whenever there was nothing to send for a second."""
        while True:
            try:
                chunk = self._outbox.get(timeout=_HEARTBEAT_S)
            except queue.Empty:
                yield wrap(heartbeat=peer_pb2.Heartbeat())
                continue
            if chunk is None:
                return
            yield wrap(start=chunk) if isinstance(chunk, peer_pb2.Start) else wrap(chunk=chunk)

    def consume(self, messages: Iterable[Any]) -> None:
        """Reassemble frames from ``messages`` until they end, then leave the reason for :meth:`get`."""
        self._heard = time.monotonic()  # before it was connected the peer could not be heard
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
        except Exception as broken:
            error = _broken(broken, self.peer)
        self.fail(error)

    def _reassemble(self, messages: Iterable[Any]) -> None:
        payload = bytearray()
        first: peer_pb2.FrameChunk | None = None
        for message in messages:
            self._heard = time.monotonic()
            part = message.WhichOneof("part")
            if part == "start":
                self._started()
            if part != "chunk":
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
                self._deliver(Frame(first.sequence, first.tag, chunk.payload))
                first = None
                continue
            payload += chunk.payload
            if length == first.frame_bytes:
                self._deliver(Frame(first.sequence, first.tag, bytes(payload)))
                first, payload = None, bytearray()

    def _deliver(self, frame: Frame) -> None:
        """Leave ``frame`` for :meth:`get`, as soon as there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._inbox) < INBOX_FRAMES)
            if not self._closed:
                self._inbox.append(frame)
                self.received_bytes += len(frame.payload)
            self._heard = time.monotonic()  # the peer could not be heard while there was no room
            self._changed.notify_all()

    def _timeout(self, got: str) -> PeerTimeout:
        return PeerTimeout(
            f"{got} from party {self.peer}",
            expected="messages and heartbeats",
            remedy="Check that the party is not overloaded or stopped; raise 'timeouts' if it is merely slow.",
            origin=f"party{self.peer}",
        )


def _broken(error: Exception, peer: int) -> MpcvitError:
    """Return what a stream broke of; at a server, gRPC's iterators raise errors that say nothing."""
    if isinstance(error, grpc.Call):
        return from_rpc_error(error, f"party{peer}")
    return PeerLost(
        f"a broken stream from party {peer} ({type(error).__name__})",
        expected="a live connection",
        remedy="Check the network and that party's log.",
        origin=f"party{peer}",
    )
