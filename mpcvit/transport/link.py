"""What parties say to each other: tagged, numbered, length-checked messages over some transport."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from mpcvit.errors import ProtocolViolation
from mpcvit.transport.trace import Trace

Payload = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Frame:
    """One message between two parties.

    Attributes:
        sequence: counts from 0 per direction and peer.
        tag: what the message is for, e.g. ``block3.attn/qk``; both sides derive it from the Program.
        payload: the bytes. Hidden from ``repr``.
    """

    sequence: int
    tag: str
    payload: Payload

    def __repr__(self) -> str:
        return f"Frame(sequence={self.sequence}, tag={self.tag!r}, payload=<{len(self.payload)} bytes hidden>)"


class Link(ABC):
    """One party's connections to all others, in one session.

    Subclasses move frames (:meth:`_put`, :meth:`_get`); this class numbers, checks and counts them. Every method
    names the tag and the length that it expects: a peer that says anything else is a :class:`ProtocolViolation`.

    Args:
        index: this party's number, 0 <= index < parties.
        parties: how many parties compute.
    """

    def __init__(self, index: int, parties: int) -> None:
        self.index = index
        self.parties = parties
        self.trace = Trace()
        self._sent = [0] * parties
        self._received = [0] * parties

    @property
    def others(self) -> list[int]:
        """All party numbers but this one's."""
        return [peer for peer in range(self.parties) if peer != self.index]

    @abstractmethod
    def _put(self, peer: int, frame: Frame) -> None:
        """Hand ``frame`` to the transport; must not block on the peer's reading."""

    @abstractmethod
    def _get(self, peer: int) -> Frame:
        """Return the next frame from ``peer``.

        Raises:
            PeerLost: the connection is gone.
            PeerTimeout: the peer is silent for longer than the transport's deadline.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the transport; peers that still wait get :class:`PeerLost`."""

    def exchange(self, tag: str, payload: Payload) -> list[Payload]:
        """Return everybody's payloads in party order, this party's own among them; all of one length. One round."""
        payloads: list[Payload] = [payload] * self.parties
        for peer in self.others:
            self._send(peer, tag, payload)
        for peer in self.others:
            payloads[peer] = self._receive(peer, tag, len(payload))
        self.trace.of(tag).rounds += 1
        return payloads

    def gather(self, tag: str, payload: Payload, to: int) -> list[Payload]:
        """Return everybody's payloads in party order at party ``to``, an empty list elsewhere. One round."""
        payloads: list[Payload] = []
        if self.index == to:
            payloads = [
                payload if peer == to else self._receive(peer, tag, len(payload)) for peer in range(self.parties)
            ]
        else:
            self._send(to, tag, payload)
        self.trace.of(tag).rounds += 1
        return payloads

    def scatter(self, tag: str, payloads: Sequence[Payload], length: int) -> list[Payload]:
        """Return what each party sent to this one, in party order, when all send ``payloads[peer]`` to each peer.

        One round.

        Every payload is ``length`` bytes long.
        """
        received: list[Payload] = list(payloads)
        for peer in self.others:
            self._send(peer, tag, payloads[peer])
        for peer in self.others:
            received[peer] = self._receive(peer, tag, length)
        self.trace.of(tag).rounds += 1
        return received

    def _send(self, peer: int, tag: str, payload: Payload) -> None:
        self._put(peer, Frame(self._sent[peer], tag, payload))
        self._sent[peer] += 1
        self.trace.of(tag).bytes_sent += len(payload)

    def _receive(self, peer: int, tag: str, length: int) -> Payload:
        start = time.perf_counter()
        frame = self._get(peer)
        count = self.trace.of(tag)
        count.wait_s += time.perf_counter() - start
        expected = (self._received[peer], tag, length)
        got = (frame.sequence, frame.tag, len(frame.payload))
        if got != expected:
            raise ProtocolViolation(
                f"message {got[0]} '{got[1]}' of {got[2]} bytes from party {peer}",
                expected=f"message {expected[0]} '{expected[1]}' of {expected[2]} bytes",
                remedy="Check that all parties run the same mpcvit version and loaded the same model.",
            )
        self._received[peer] += 1
        count.bytes_received += length
        return frame.payload
