"""A file that only the process that wrote it can read: unnamed, and encrypted under a key that is in memory alone."""

from __future__ import annotations

import mmap
import secrets
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

_BLOCK = 16
_KEY_BYTES = 32


class SealedFile:
    """Bytes that are written once, in order, and then read anywhere.

    AES-256 in counter mode (NIST SP 800-38A 6.5) under a fresh key, which serves this file alone, so that its counter
    may begin at zero. What is left on a disk after a crash or in a copy of it is of no use to anybody. There is no
    integrity: whoever can write to this process's open files needs no file.

    Args:
        folder: on the disk that takes the bytes. There is never a name in it.

    Raises:
        OSError: there is no such folder, or no room.
    """

    def __init__(self, folder: Path) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed when it has been written
        self._encryptor = Cipher(AES256(self._key), CTR(bytes(_BLOCK))).encryptor()
        self._map: mmap.mmap | None = None

    def write(self, piece: bytes | memoryview, /) -> int:
        """Append ``piece``; return its length."""
        return self._file.write(self._encryptor.update(piece))

    def finish(self) -> None:
        """Let it be read; nothing more is written."""
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._file.close()

    def read(self, start: int, count: int) -> memoryview:
        """Return ``count`` bytes from ``start``, of a finished file.

        Raises:
            ValueError: it is not finished.
        """
        if self._map is None:
            raise ValueError("not finished")
        skipped = start % _BLOCK
        counter = (start // _BLOCK).to_bytes(_BLOCK, "big")
        decryptor = Cipher(AES256(self._key), CTR(counter)).decryptor()
        with memoryview(self._map) as sealed:
            return memoryview(decryptor.update(sealed[start - skipped : start + count]))[skipped:]

    def close(self) -> None:
        """Give the disk's room back at once."""
        if self._map is not None:
            self._map.close()
        self._file.close()
