"""Labelled inputs that are no RGB pictures, in an image folder: as clients' inputs are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpcvit.data.class_folders import ClassFolders, find_entries, find_pictures, read_files
from mpcvit.data.image_set import ImageSet
from mpcvit.inputs import InputSpec
from mpcvit.inputs.read import Reading, read_input
from mpcvit.picture import Fit


def find_inputs(folder: Path, spec: InputSpec) -> ClassFolders:
    """Return the classes and inputs in ``folder/<class>/``.

    An input of one picture is a file at any depth. One of several is whatever lies in the class folder: a file, or a
    folder of its parts.

    Raises:
        InputError: no such folder, no class folders in it, or one without an input.
    """
    return find_pictures(folder) if spec.parts == 1 else find_entries(folder)


def load_inputs(
    found: ClassFolders, chosen: Sequence[int], spec: InputSpec, *, fit: Fit | None, skip_unreadable: bool
) -> ImageSet:
    """Return some of the inputs that were ``found``, as pixels of the model's shape.

    Args:
        chosen: their numbers.
        fit: what to do with those of another size or form; None refuses them.
        skip_unreadable: leave out what cannot be read, and count it.

    Raises:
        ConfigError: the library that reads such files is not installed.
        InputError: one cannot be read; the message names it.
        ShapeMismatch: one has another size, or another number of pictures.
    """

    def read(path: Path) -> Reading:
        return read_input(path, spec, fit)

    files = [found.files[number] for number in chosen]
    read_all = read_files(files, read, lambda reading: reading.pixels, skip_unreadable=skip_unreadable)
    labels = np.array(read_all.labels, dtype=np.int64)
    return ImageSet(np.stack(read_all.results), labels, found.classes, read_all.unreadable, read_all.notices)
