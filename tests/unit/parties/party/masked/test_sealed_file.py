"""Material on a disk."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from parties.party.masked.sealed_file import SealedFile


def test_what_was_written_is_read_anywhere(tmp_path: Path) -> None:
    """Pieces of any length are read from any place."""
    content = secrets.token_bytes(5000)
    file = SealedFile(tmp_path)
    for start, end in ((0, 1), (1, 18), (18, 4097), (4097, 5000)):
        file.write(memoryview(content)[start:end])
    with pytest.raises(ValueError, match="not finished"):
        file.read(0, 1)
    file.finish()
    for start, count in ((0, 5000), (1, 15), (15, 2), (16, 16), (4999, 1), (31, 0), (17, 4000)):
        assert file.read(start, count) == content[start : start + count]
    file.close()


def test_the_disk_shows_nothing(tmp_path: Path) -> None:
    """The folder stays empty, and what the system stores of the file is not what was written."""
    content = b"canary " * 1000
    file = SealedFile(tmp_path)
    file.write(content)
    assert list(tmp_path.iterdir()) == []
    file._file.flush()
    stored = Path(f"/proc/{os.getpid()}/fd/{file._file.fileno()}").read_bytes()
    assert len(stored) == len(content)
    assert b"canary" not in stored
    file.finish()
    assert file.read(0, 6) == b"canary"
    file.close()
