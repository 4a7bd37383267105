"""Labelled pictures that a model is scored on."""

from __future__ import annotations

from pathlib import Path

from mpcvit.data.class_folders import find_pictures, part
from mpcvit.data.class_names import match_classes, places
from mpcvit.data.image_set import ImageSet, load_folder
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
    places(find_pictures(tested).classes, model.description.labels)  # before all pictures are read
    _, height, width = model.input_shape
    images = load_folder(tested, size=(height, width), fit=wanted, skip_unreadable=skip_unreadable)
    images = match_classes(images, model.description.labels)
    return images.spread(limit) if limit else images
