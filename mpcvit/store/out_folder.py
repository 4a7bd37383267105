"""The folder that a command writes to: checked before the work begins, and never left half-written."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpcvit.errors import ConfigError

_STORAGE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}
#: How safetensors, which is written in Rust, says what the system said.
_RUST = re.compile(r"\(os error (\d+)\)")


def check_folder(out: Path, option: str = "--out") -> None:
    """See that ``out`` is a folder that can be written to, or can be made. Leaves nothing behind.

    Raises:
        ConfigError: it cannot: a file of that name, no permission, or a file system that is read-only.
    """
    made: list[Path] = []
    try:
        missing = [out, *out.parents]
        while missing and os.path.lexists(missing[-1]):
            missing.pop()
        for folder in reversed(missing):
            folder.mkdir()
            made.append(folder)
        if not out.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        probe = out / f".{secrets.token_hex(4)}.partial"
        probe.mkdir()
        made.append(probe)
    except OSError as error:
        raise _unwritable(f"{option} {out}", error.strerror) from error
    finally:
        for folder in reversed(made):
            folder.rmdir()


def check_result(out: Path, mark: str, option: str = "--out") -> None:
    """Do :func:`check_folder`, and check that nothing but an earlier result of the same kind would be replaced.

    Args:
        mark: a file that every such result has.

    Raises:
        ConfigError: it cannot be written to, or holds something else.
    """
    check_folder(out, option)
    if not (out / mark).exists():
        check_empty(out, f"an empty or new folder, or an earlier result, with {mark}", option)


def check_empty(out: Path, expected: str = "an empty or new folder", option: str = "--out") -> None:
    """See that ``out`` holds no files but hidden ones, or does not exist.

    Raises:
        ConfigError: it holds some.
    """
    found = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if found:
        raise ConfigError(
            f"{option} {out}, which holds {', '.join(found[:3])}{' ..' if found[3:] else ''}",
            expected=expected,
            remedy=f"Choose another folder with {option}, or delete this one.",
        )


@contextmanager
def written(out: Path, *, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield a fresh folder to write into. At the end its content moves to ``out``; after an error it is deleted.

    Args:
        out: made if missing; entries of the same names are replaced.
        stale: names of entries that are deleted from ``out``, as they belong to what is replaced.

    Raises:
        ConfigError: there is no room, or no permission.
    """
    near = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    partial = near / f".{out.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir()
        yield partial
        _move(partial, out, stale)
    except Exception as error:
        why = storage_error(error)
        if why is None:
            raise
        raise _unwritable(f"writing to {out}", why) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def storage_error(error: Exception) -> str | None:
    """Return what the system said of a file that cannot be written or read, e.g. ``No space left on device``.

    Else None.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError | sqlite3.OperationalError):
        cause = cause.__cause__
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause)
    number = cause.errno if cause is not None else None
    if type(error).__name__ == "SafetensorError" and (match := _RUST.search(str(error))):
        number = int(match[1])
    return os.strerror(number) if number in _STORAGE else None


def _move(partial: Path, out: Path, stale: tuple[str, ...]) -> None:
    """Move what is in ``partial`` to ``out``; after an error ``out`` is as it was.

    Raises:
        ConfigError: an entry of ``out`` cannot be moved away, as it is a mount point for instance.
    """
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(out)
        return
    old = partial / f".{secrets.token_hex(4)}.old"  # goes with ``partial``
    fresh = list(partial.iterdir())
    old.mkdir()
    names = dict.fromkeys([*(path.name for path in fresh), *stale])
    replaced = [name for name in names if os.path.lexists(out / name)]
    moves = [(out / name, old / name) for name in replaced] + [(path, out / path.name) for path in fresh]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.replace(target)
            done.append((source, target))
    except OSError as error:
        for origin, place in reversed(done):
            place.replace(origin)
        raise _unwritable(f"replacing {source}", error.strerror) from error


def _unwritable(what: str, why: str | None) -> ConfigError:
    return ConfigError(
        f"{what}: {why}",
        expected="a folder that can be written to, or a name for a new one",
        remedy="Choose another folder, or see to its permissions and to free space.",
    )
