"""Ring tensors as bytes in chunks, and back, with every length checked before anything is stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mpcvit.errors import InputTooLarge, InvalidShare
from mpcvit.ring.fixed_point import Codes

#: gRPC on loopback is fastest near 1 MiB per message.
CHUNK_BYTES = 1 << 20


def chunks(payload: bytes | memoryview) -> Iterator[memoryview]:
    """Yield ``payload`` in pieces of at most :data:`CHUNK_BYTES`; one empty piece if it is empty."""
    view = memoryview(payload)
    for start in range(0, max(len(view), 1), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def tensor_bytes(codes: Codes) -> memoryview:
    """Return the elements of ``codes`` in row-major order, little-endian."""
    return np.ascontiguousarray(codes, dtype="<i8").reshape(-1).data.cast("B")


def join_chunks(pieces: Iterable[bytes], length: int) -> bytes:
    """Return the concatenation of ``pieces``, which must be exactly ``length`` bytes.

    Raises:
        InputTooLarge: more arrives than announced; nothing beyond it is kept.
        InvalidShare: less arrives.
    """
    buffer = bytearray()
    for piece in pieces:
        if len(buffer) + len(piece) > length:
            raise InputTooLarge(
                f"more than the announced {length} bytes",
                expected=f"{length} bytes",
                remedy="Send exactly as many bytes as announced.",
            )
        buffer += piece
    if len(buffer) != length:
        raise InvalidShare(
            f"{len(buffer)} bytes", expected=f"{length} bytes", remedy="Send the whole share before closing the stream."
        )
    return bytes(buffer)


def tensor(raw: bytes | memoryview, shape: Sequence[int]) -> Codes:
    """Return the int64 tensor of ``shape`` whose bytes are ``raw``.

    Raises:
        InvalidShare: the length does not fit the shape.
    """
    expected = 8 * math.prod(shape)
    if len(raw) != expected:
        raise InvalidShare(
            f"{len(raw)} bytes for a tensor of shape {tuple(shape)}",
            expected=f"{expected} bytes",
            remedy="Send 8 bytes per element.",
        )
    return np.frombuffer(raw, dtype="<i8").reshape(tuple(shape)).astype(np.int64)
