"""Labelled pictures that a model is scored on."""

from __future__ import annotations

from pathlib import Path

from mpcvit.data.class_folders import part
from mpcvit.data.class_names import match_classes, places
from mpcvit.data.image_set import ImageSet, load_folder
from mpcvit.data.typed_inputs import find_inputs, load_inputs
from mpcvit.picture import Fit
from mpcvit.store.exported import ModelFolder


def scored_pictures(folder: Path, data: Path, limit: int, fit: str, skip_unreadable: bool) -> ImageSet:
    """Return the pictures in ``data``, or in its test part, with the labels of the exported model in ``folder``.

    Args:
        limit: number of pictures, spread over the classes; 0 for all.
        fit: what to do with pictures of another size than the model's, see :class:`~mpcvit.picture.Fit`.

    Raises:
        InputError: of the pictures, or one of their classes is no label of the model.
        ModelFileError: of the model.
        NotRevealed: the model reveals no label.
    """
    wanted = Fit.parse(fit)
    tested = part(data, "test")
    model = ModelFolder.load(folder)
    model.description.check_ranked("a score")
    found = find_inputs(tested, model.input)
    places(found.classes, model.description.labels)  # before all pictures are read
    if model.reads_rgb:
        images = load_folder(tested, size=model.input.size, fit=wanted, skip_unreadable=skip_unreadable)
    else:
        every = range(len(found.files))
        images = load_inputs(found, every, model.input, fit=wanted, skip_unreadable=skip_unreadable)
    images = match_classes(images, model.description.labels)
    return images.spread(limit) if limit else images
