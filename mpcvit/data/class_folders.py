"""Image folders on disk: one subfolder per class, pictures anywhere in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.inputs.read import Reading
from mpcvit.picture import Picture

Result = TypeVar("Result")
Noted = TypeVar("Noted", Picture, Reading)

#: What systems leave beside pictures, in lower case; so is everything whose name begins with a dot.
_CLUTTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "icon\r"}
#: Names of the parts of a data set; here ``train`` and ``test`` are read.
_PARTS = {"train", "test", "val", "valid", "validation"}
#: Names in a message, at most.
_LISTED = 20


@dataclass(frozen=True)
class ClassFolders:
    """What lies in an image folder, unread.

    Attributes:
        classes: names of the subfolders, sorted.
        files: (path, index into ``classes``), by class, then by path.
    """

    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]


@dataclass(frozen=True)
class Readings(Generic[Result]):
    """What was made of the files of an image folder.

    Attributes:
        results: one per file that could be read, in order.
        labels: their classes.
        unreadable: number of files that were left out.
        notices: what should be known of how they were read; sentences.
    """

    results: list[Result]
    labels: list[int]
    unreadable: int
    notices: tuple[str, ...]


def find_pictures(folder: Path) -> ClassFolders:
    """Return the classes and files in ``folder/<class>/**``.

    Hidden files and folders, and what systems leave, are ignored.

    Raises:
        InputError: no such folder, no class folders in it, one without a file, or a link that leads back.
    """
    classes = _classes(folder)
    files = [(path, label) for label, name in enumerate(classes) for path in files_below(folder / name)]
    return _filled(folder, classes, files)


def find_entries(folder: Path) -> ClassFolders:
    """Return the classes, and the files and folders in ``folder/<class>/``, each of which is one input.

    Hidden ones, and what systems leave, are ignored.

    Raises:
        InputError: no such folder, no class folders in it, or one without a file or folder.
    """
    classes = _classes(folder)
    entries = [(path, label) for label, name in enumerate(classes) for path in _visible(folder / name)]
    return _filled(folder, classes, entries)


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        what = "a file" if folder.exists() else "which does not exist"
        raise InputError(
            f"no classes with pictures in {folder}, {what}{_beside(folder)}",
            expected="a folder of one subfolder per class, with its pictures",
            remedy="Point --data at an image folder, or fetch one with 'mpcvit data cifar10'.",
        )
    classes = tuple(path.name for path in _visible(folder) if path.is_dir())
    if not classes:
        loose = sum(path.is_file() for path in _visible(folder))
        raise InputError(
            f"no classes with pictures in {folder}: {f'{loose} files' if loose else 'nothing'}, and no folders",
            expected="one subfolder per class, with its pictures",
            remedy="Sort the pictures into folders named after their classes.",
        )
    return classes


def _filled(folder: Path, classes: tuple[str, ...], files: list[tuple[Path, int]]) -> ClassFolders:
    """Return the classes and ``files`` once there are some in every class."""
    filled = {label for _, label in files}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if empty:
        raise InputError(
            f"no pictures in {len(empty)} of {len(classes)} class folders of {folder}: {listed(empty)}",
            expected="at least one picture in every class folder",
            remedy="Put pictures in, or remove the empty folders.",
        )
    return ClassFolders(classes, tuple(files))


def read_files(
    files: Iterable[tuple[Path, int]],
    read: Callable[[Path], Noted],
    use: Callable[[Noted], Result],
    *,
    skip_unreadable: bool = False,
) -> Readings[Result]:
    """Return ``use`` of what is in every file.

    Args:
        files: paths and labels.
        read: reads one, such as :func:`~mpcvit.picture.read_picture`.
        skip_unreadable: leave files out that cannot be read as pictures.

    Raises:
        InputError: a file cannot be read, or none can; the message names it.
        ShapeMismatch: a picture has another size than ``read`` asks for.
    """
    results: list[Result] = []
    labels: list[int] = []
    notices: list[str] = []
    failures: list[Path] = []
    for path, label in files:
        try:
            picture = read(path)
        except ShapeMismatch:
            raise
        except InputError as error:
            if not skip_unreadable:
                remedy = f"{error.remedy} Or remove the file, or leave such files out with --skip-unreadable."
                raise InputError(error.got, expected=error.expected, remedy=remedy) from error
            failures.append(path)
        else:
            results.append(use(picture))
            labels.append(label)
            notices.extend(picture.notices)
    if not results:
        raise InputError(
            f"no picture that can be read among {len(failures)} files, the first of them {failures[0]}",
            expected="pictures in a common format",
            remedy="Point --data at a folder of pictures.",
        )
    if failures:
        left_out = listed([str(path) for path in failures], 3)
        notices.append(f"{len(failures)} files that cannot be read as pictures were left out: {left_out}.")
    return Readings(results, labels, len(failures), _shortened(notices))


def part(root: Path, name: str) -> Path:
    """Return the part ``name``, such as ``train``, of the image folder ``root``; ``root`` itself if it is not in parts.

    A part holds class folders; a folder of that name with pictures right in it is a class, unless all folders beside it
    are called like parts too.
    """
    inside = root / name
    beside = {path.name for path in _visible(root) if path.is_dir()} if root.is_dir() else set()
    if (beside and beside <= _PARTS) or (inside.is_dir() and any(path.is_dir() for path in _visible(inside))):
        return inside
    return root


def check_parts_agree(root: Path) -> None:
    """Refuse an image folder whose test part has classes that its training part lacks.

    Raises:
        InputError: it has; the message lists both parts' classes.
    """
    train, test = root / "train", root / "test"
    if not (train.is_dir() and test.is_dir()):
        return
    known, tested = ([path.name for path in _visible(one) if path.is_dir()] for one in (train, test))
    unknown = [name for name in tested if name not in set(known)]
    if unknown:
        raise InputError(
            f"{len(unknown)} classes in {test} that are not in {train}: {listed(unknown)}",
            expected=f"the training part's {len(known)}: {listed(known)}",
            remedy="Give the folders of both parts the same names, or remove these.",
        )


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Return ``names`` for a message; the first of them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _visible(folder: Path) -> list[Path]:
    """Return what is in ``folder``, sorted, but for hidden things and clutter.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{type(error).__name__} reading {folder}",
            expected="a folder that can be read",
            remedy="Check its permissions.",
        ) from error
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in _CLUTTER]


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Return files at any depth in ``folder``: its own in sorted order, then those of each subfolder.

    Hidden files and folders, and what systems leave, are ignored.

    Args:
        above: the folders through which it was reached, without links.

    Raises:
        InputError: a folder cannot be read, or a link leads back to one above: its files would count many times.
    """
    real = folder.resolve()
    if real in above:
        raise InputError(
            f"{folder}, which leads back to {real}",
            expected="folders without links to folders that they are in",
            remedy="Remove the link.",
        )
    found = _visible(folder)
    inner = [path for path in found if path.is_dir()]
    own = [path for path in found if not path.is_dir()]
    return own + [file for path in inner for file in files_below(path, above | {real})]


def _beside(folder: Path) -> str:
    """Return what is there instead of a part that is missing."""
    if folder.name not in _PARTS or not folder.parent.is_dir():
        return ""
    there = [f"{path.name}{os.sep if path.is_dir() else ''}" for path in _visible(folder.parent)]
    return f" (in {folder.parent}: {listed(there, 5) or 'nothing'})"


def _shortened(notices: list[str]) -> tuple[str, ...]:
    """Return the first of many notices, and how many more there are."""
    more = len(notices) - _LISTED
    return (*notices[:_LISTED], *([f"{more:,} more such notices."] if more > 0 else ()))
