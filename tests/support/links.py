"""Links that watch what parties say, for tests."""

from __future__ import annotations

from mpcvit.transport.link import Frame, Link


class RecordingLink(Link):
    """Passes everything on and keeps a copy of what this party says, but for messages of the tags to ``ignore``."""

    def __init__(self, inner: Link, said: list[bytes], *ignore: str) -> None:
        super().__init__(inner.index, inner.parties)
        self._inner, self._said, self._ignore = inner, said, ignore

    def _put(self, peer: int, frame: Frame) -> None:
        if frame.tag not in self._ignore:
            self._said.append(bytes(frame.payload))
        self._inner._put(peer, frame)

    def _get(self, peer: int) -> Frame:
        return self._inner._get(peer)

    def close(self) -> None:
        self._inner.close()
