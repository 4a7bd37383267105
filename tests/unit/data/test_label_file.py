"""Names of labels from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.data.label_file import read_labels
from mpcvit.errors import InputError


def test_names_are_lines(tmp_path: Path) -> None:
    """In order, with spaces inside."""
    (tmp_path / "labels.txt").write_text("a dog\nKatze\n", encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt") == ("a dog", "Katze")


@pytest.mark.parametrize("content", [b"", b"a\n\nb\n", b"a\nb\na\n", b"\xff\xfe\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, with an empty line, a name twice, no text; and a file that is not there."""
    (tmp_path / "labels.txt").write_bytes(content)
    for name in ("labels.txt", "missing.txt"):
        with pytest.raises(InputError, match=name):
            read_labels(tmp_path / name)
