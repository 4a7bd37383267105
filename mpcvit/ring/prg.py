"""Pseudo-random generation: AES-128-CTR under named streams.

Every mask of the product comes from here. A :class:`Prg` holds one 32-byte seed; ``stream(*label)`` derives an
independent AES-128 key as HMAC-SHA-256(seed, label) and counts from zero under it (CTR mode, NIST SP 800-38A 6.5).
Labels name what the bytes are for (party, session, op, index), so that no two uses ever share a position. CrypTen's own
generator keeps 32 bits of its seed on CPU: its masks fall to a search of 2**32.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

from mpcvit.errors import InputError, RandomnessReused

SEED_BYTES = 32
_DOMAIN = b"mpcvit/prg/v1"
_BLOCK = 16
_ZEROS = bytes(1 << 20)


def _encode_label(label: Sequence[str | int | bytes]) -> bytes:
    """Return an injective encoding: each part as type letter, 4-byte length, bytes."""
    parts = []
    for part in label:
        if isinstance(part, bytes):
            letter, raw = b"b", part
        elif isinstance(part, str):
            letter, raw = b"s", part.encode()
        else:
            letter, raw = b"i", part.to_bytes(8, "little", signed=True)
        parts.append(letter + len(raw).to_bytes(4, "little") + raw)
    return b"".join(parts)


class Stream:
    """The bytes of one named stream, in order, each given out once."""

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(AES128(key), CTR(bytes(_BLOCK))).encryptor()

    def draw(self, count: int) -> npt.NDArray[np.uint8]:
        """Return the next ``count`` bytes, as a writable uint8 array of shape (count,)."""
        out = np.empty(count + _BLOCK - 1, dtype=np.uint8)  # update_into asks for one spare block
        view = out.data
        for start in range(0, count, len(_ZEROS)):
            size = min(len(_ZEROS), count - start)
            self._encryptor.update_into(_ZEROS[:size] if size < len(_ZEROS) else _ZEROS, view[start:])
        return out[:count]

    def ring(self, shape: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the elements uniform over Z_2^64, int64 of the given shape."""
        return self.draw(8 * math.prod(shape)).view("<i8").reshape(tuple(shape))

    def bits(self, shape: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return uniform bits 0 or 1, int64 of the given shape."""
        count = math.prod(shape)
        packed = self.draw(-(-count // 8))
        return np.unpackbits(packed, count=count).astype(np.int64).reshape(tuple(shape))


class Prg:
    """Named streams under one seed; asking for the same name twice is refused.

    Args:
        seed: 32 uniform bytes. From the operating system in production, from a counter in tests.

    Raises:
        InputError: the seed is not 32 bytes.
    """

    __slots__ = ("_seed", "_used")

    def __init__(self, seed: bytes | bytearray) -> None:
        if len(seed) != SEED_BYTES:
            raise InputError(
                f"a seed of {len(seed)} bytes",
                expected=f"{SEED_BYTES} bytes",
                remedy="Draw seeds with secrets.token_bytes(32).",
            )
        self._seed = bytes(seed)
        self._used: set[bytes] = set()

    def __repr__(self) -> str:
        return "Prg(<seed hidden>)"

    def stream(self, *label: str | int | bytes) -> Stream:
        """Return the stream called ``label``.

        Raises:
            RandomnessReused: this name was given out before; a mask must serve once.
        """
        name = _encode_label(label)
        if name in self._used:
            raise RandomnessReused(
                f"a second use of stream {label!r}",
                expected="each stream to be used once",
                remedy="Give every use its own index; never retry an op with old randomness.",
            )
        self._used.add(name)
        return Stream(hmac.digest(self._seed, _DOMAIN + name, hashlib.sha256)[:16])

    def derive(self, *label: str | int | bytes) -> bytes:
        """Return a fresh 32-byte seed derived under ``label``, for a child :class:`Prg`."""
        return self.stream("seed", *label).draw(SEED_BYTES).tobytes()
