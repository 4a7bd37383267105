"""Parameters of a Program as public slices of tensors that are stored for another one.

Slicing is local, on shares as in clear: a share of the slice is the slice of the share. Which slices are taken is
public and the same for every party.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpcvit.errors import ModelFileError
from mpcvit.ring.fixed_point import Codes

VIEWS_FILE = "views.json"
#: [start, stop) ranges along one axis, in order; none for the whole axis.
Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class View:
    """Part of a stored tensor.

    Attributes:
        stored: the tensor's name.
        runs: per axis, the ranges that are read, one behind the other.
    """

    stored: str
    runs: tuple[Runs, ...]

    def read(self, codes: Codes) -> Codes:
        """Return the part of ``codes``, contiguous; ``codes`` themselves where that is all.

        Raises:
            ValueError: it has other axes, or a range is not within them.
        """
        if codes.ndim != len(self.runs):
            raise ValueError("axes")
        for axis, runs in enumerate(self.runs):
            if not runs:
                continue
            if not all(0 <= start < stop <= codes.shape[axis] for start, stop in runs):
                raise ValueError("ranges")
            codes = codes.take(np.concatenate([np.arange(start, stop) for start, stop in runs]), axis)
        return codes


def read_views(views: Mapping[str, View], stored: Mapping[str, Codes], path: Path) -> dict[str, Codes]:
    """Return the tensors that ``views`` describe, by parameter.

    Args:
        path: where the views were read, for messages.

    Raises:
        ModelFileError: they do not fit what is stored.
    """
    try:
        return {name: view.read(stored[view.stored]) for name, view in views.items()}
    except (KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def save_views(views: Mapping[str, View], path: Path) -> None:
    """Write ``path``."""
    document = {name: {"stored": view.stored, "runs": view.runs} for name, view in views.items()}
    path.write_text(json.dumps(document, sort_keys=True) + "\n")


def parse_views(raw: bytes, path: Path) -> dict[str, View]:
    """Return the views that were read from ``path``.

    Raises:
        ModelFileError: it is damaged.
    """
    try:
        document = json.loads(raw)
        return {str(name): View(str(entry["stored"]), _runs(entry["runs"])) for name, entry in document.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error


def _runs(value: Any) -> tuple[Runs, ...]:
    return tuple(tuple((int(start), int(stop)) for start, stop in runs) for runs in value)


def _damaged(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{type(error).__name__} in {path}",
        expected="slices of the tensors that the model stores",
        remedy="Copy the whole folder again; its files belong together.",
    )
