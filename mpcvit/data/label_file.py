"""Names of labels from a file."""

from __future__ import annotations

from pathlib import Path

from mpcvit.errors import InputError


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the names in a text file (UTF-8), one a line, in order.

    Raises:
        InputError: the file cannot be read, or a line is empty or there twice.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{type(error).__name__} reading {path}", expected="a text file of names", remedy="Correct the path."
        ) from error
    if not names or "" in names or len(set(names)) != len(names):
        raise InputError(
            f"{len(names)} lines in {path}, of which {len(set(names) - {''})} are different names",
            expected="one name a line, each once",
            remedy="Correct the file.",
        )
    return names
