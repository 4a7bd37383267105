"""The two sides of a layout: the dealer draws and writes, a party reads.

Both go through the items in the order of the layout, so that they draw alike from a party's stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpcvit.engines.masked.layout import DrawnItem, Item, Layout, SentItem, sent_bytes
from mpcvit.errors import DealerLost, InternalError
from mpcvit.ring.prg import Stream

#: Values of a layout's items in its order; those of a layout within it are a tuple of their own.
Values = tuple[Any, ...]


class MaterialWriter:
    """The dealer's side of one use of a layout.

    Args:
        streams: of the step, of both parties.

    Attributes:
        drawn: the values of the drawn items; a layout within has its own tuple, be it empty.
    """

    def __init__(self, layout: Layout, streams: tuple[Stream, Stream]) -> None:
        self._streams = streams
        self._pads: list[tuple[SentItem, Any]] = []
        self.drawn = self._draw(layout)

    def write(self, sent: Values) -> tuple[bytes, bytes]:
        """Return the bytes for party 0 and for party 1.

        Args:
            sent: the arrays of all sent items, in order, without inner tuples.

        Raises:
            InternalError: their number, a shape or a type is not the layout's.
        """
        arrays = [np.asarray(value) for value in sent]
        got = [(array.shape, array.dtype) for array in arrays]
        expected = [(item.array_shape, np.dtype(item.dtype)) for item, _ in self._pads]
        if got != expected:
            raise InternalError(
                f"material of {_listed(got)}",
                expected=_listed(expected),
                remedy="Let the protocol's deal give what its layout says.",
            )
        both = [item.encode(array, pad) for (item, pad), array in zip(self._pads, arrays, strict=True)]
        return b"".join(first for first, _ in both), b"".join(second for _, second in both)

    def _draw(self, layout: Layout) -> Values:
        drawn: list[Any] = []
        for part in layout:
            if isinstance(part, SentItem):
                self._pads.append((part, part.pad(self._streams[0])))
            else:
                drawn.append(part.joined(*self._streams) if isinstance(part, DrawnItem) else self._draw(part))
        return tuple(drawn)


def read_material(layout: Layout, party: int, stream: Stream, sent: memoryview) -> Values:
    """Return a party's values of all items.

    Args:
        stream: of the step, of this party.
        sent: what the dealer sent to this party for the step.

    Raises:
        DealerLost: ``sent`` is not as long as the layout says.
    """
    expected = sent_bytes(layout)[party]
    if len(sent) != expected:
        raise DealerLost(
            f"{len(sent)} bytes of material for a node",
            expected=f"{expected} bytes",
            remedy="Run the same version of mpcvit at dealer and parties.",
        )
    values: list[Any] = []
    position = 0
    for part in layout:
        piece = sent[position : position + sent_bytes(part)[party]]
        values.append(
            part.read(party, stream, piece) if isinstance(part, Item) else read_material(part, party, stream, piece)
        )
        position += len(piece)
    return tuple(values)


def _listed(arrays: list[tuple[Any, Any]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for shape, dtype in arrays) or "nothing"
