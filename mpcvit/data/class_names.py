"""Classes of pictures and labels of a model, which need not be the same, brought together by their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mpcvit.data.class_folders import listed
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import InputError

#: A label that is only a number, as timm's backbones have them after an export.
_NUMBERED = re.compile(r"(?:class[ _-]?)?(\d+)", re.IGNORECASE)


def match_classes(images: ImageSet, labels: Sequence[str]) -> ImageSet:
    """Return ``images`` with the indices of a model's ``labels``, as :func:`places` finds them.

    Raises:
        InputError: a class is none of the labels.
    """
    if images.classes == tuple(labels):
        return images
    order, notices = places(images.classes, labels)
    return replace(
        images,
        labels=np.array(order, dtype=np.int64)[images.labels],
        classes=tuple(labels),
        notices=(*images.notices, *notices),
    )


def places(classes: Sequence[str], labels: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return (where each class of pictures is among a model's ``labels``, what is to be said of that).

    Every class must be one of the labels, by name; the model may know more. Two names that are numbers, such as ``7``
    and ``class7``, are the same if the numbers are. Where a model's labels are numbers and the classes have names, as
    many as there are labels, the sorted names are taken in the order of the numbers, with a notice.

    Raises:
        InputError: a class is none of the labels; the message lists both.
    """
    known = {_key(label): place for place, label in enumerate(labels)}
    unknown = [name for name in classes if _key(name) not in known]
    if not unknown:
        return [known[_key(name)] for name in classes], ()
    if all(map(_NUMBERED.fullmatch, labels)) and len(classes) == len(labels):
        notice = "The model's labels are numbers: the classes, sorted by name, were taken in their order."
        return [known[key] for key in sorted(known, key=int)], (notice,)
    raise InputError(
        f"{len(unknown)} classes that the model does not know: {listed(unknown)} "
        f"(all {len(classes)} of the pictures: {listed(classes)})",
        expected=f"classes among the model's {len(labels)} labels: {listed(labels)}",
        remedy="Name the class folders after the model's labels, or point --data at pictures of its classes.",
    )


def _key(name: str) -> str:
    """Return what two names of a class have in common."""
    numbered = _NUMBERED.fullmatch(name)
    return str(int(numbered[1])) if numbered else unicodedata.normalize("NFC", name)
