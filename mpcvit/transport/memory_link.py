"""A link between threads of one process, for tests and plaintext comparison."""

from __future__ import annotations

import queue

from mpcvit.errors import PeerLost, PeerTimeout
from mpcvit.transport.link import Frame, Link

_Box = queue.SimpleQueue[Frame | None]


class MemoryLink(Link):
    """One party's end of a :func:`memory_links` network."""

    def __init__(self, index: int, boxes: list[list[_Box]], timeout_s: float) -> None:
        super().__init__(index, len(boxes))
        self._boxes = boxes
        self._timeout_s = timeout_s

    def _put(self, peer: int, frame: Frame) -> None:
        self._boxes[self.index][peer].put(Frame(frame.sequence, frame.tag, bytes(frame.payload)))

    def _get(self, peer: int) -> Frame:
        try:
            frame = self._boxes[peer][self.index].get(timeout=self._timeout_s)
        except queue.Empty:
            raise PeerTimeout(
                f"nothing from party {peer} for {self._timeout_s} s",
                expected="a message",
                remedy="Look for an error in the other party's thread.",
            ) from None
        if frame is None:
            raise PeerLost(
                f"a closed link from party {peer}",
                expected="a message",
                remedy="Look for an error in the other party's thread.",
            )
        return frame

    def close(self) -> None:
        for peer in self.others:
            self._boxes[self.index][peer].put(None)


def memory_links(parties: int, timeout_s: float = 60.0) -> list[MemoryLink]:
    """Return one connected link per party; a party silent for ``timeout_s`` seconds is a :class:`PeerTimeout`."""
    boxes: list[list[_Box]] = [[queue.SimpleQueue() for _ in range(parties)] for _ in range(parties)]
    return [MemoryLink(index, boxes, timeout_s) for index in range(parties)]
