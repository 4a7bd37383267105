"""What a session took at one party."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mpcvit.wire.v1 import inference_pb2


@dataclass(frozen=True)
class Stats:
    """What one party spent on a session, all attempts added up; bytes are payload without framing and TLS.

    Attributes:
        offline_s: seconds until the party's correlated randomness was there.
        online_s: seconds from the first masked byte to the result share.
        peer_wait_s, material_wait_s: parts of ``online_s`` spent waiting for peers and for late material.
        rounds: message exchanges between parties, setup included.
        bytes_sent: to all other parties.
        material_bytes: received from the dealer.
    """

    offline_s: float
    online_s: float
    peer_wait_s: float
    material_wait_s: float
    rounds: int
    bytes_sent: int
    material_bytes: int

    def to_message(self) -> inference_pb2.SessionStats:
        """Return it as the party sends it to the client."""
        return inference_pb2.SessionStats(**asdict(self))

    @classmethod
    def of_message(cls, message: inference_pb2.SessionStats) -> Stats:
        """Return what :meth:`to_message` made."""
        return cls(
            message.offline_s,
            message.online_s,
            message.peer_wait_s,
            message.material_wait_s,
            message.rounds,
            message.bytes_sent,
            message.material_bytes,
        )
