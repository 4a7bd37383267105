"""Files that are there as a whole or not at all: a full disk leaves none that is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to.

    What is written takes the place of ``path``; after an error it is deleted.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text)
