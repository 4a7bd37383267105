"""The link between party processes: one gRPC stream per pair of parties and session."""

from __future__ import annotations

from collections.abc import Mapping

from mpcvit.transport.link import Frame, Link
from parties.party.peer_stream import PeerStream


class GrpcLink(Link):
    """A link over connected peer streams.

    Args:
        index, parties: as for :class:`Link`.
        streams: one per other party.
        patience_s: how long a message may take; may be changed between phases of a session.
    """

    def __init__(self, index: int, parties: int, streams: Mapping[int, PeerStream], patience_s: float) -> None:
        super().__init__(index, parties)
        self._streams = dict(streams)
        self.patience_s = patience_s

    def _put(self, peer: int, frame: Frame) -> None:
        self._streams[peer].put(frame)

    def _get(self, peer: int) -> Frame:
        return self._streams[peer].get(self.patience_s)

    def close(self) -> None:
        for stream in self._streams.values():
            stream.finish()
