"""The likeliest label of every place of a grid: a segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mpcvit.client.answers.answer import Answer, untrusted
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False, eq=False)
class LabelMap(Answer):
    """An answer of ``map``.

    Attributes:
        labels: one name per class.
        classes: int64 [rows, columns], positions in ``labels``; the grid covers the picture that the model read.
    """

    labels: tuple[str, ...]
    classes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        """Return the map, which came as positions among all labels of all places, and how many there are.

        A place that several labels took, or none, cannot hide: its number is then a sum of several positions, which
        lies beyond the place's own ones, or 0; except at the first place, for which the count of all speaks.
        """
        places = codes[:-1]
        if codes[-1] != places.size:
            raise untrusted("places that not one label each took", f"{places.size} labels found")
        classes = places.reshape(manifest.reveal.shape) - _firsts(manifest)
        if places.min() < 0 or classes.min() < 0 or classes.max() >= len(manifest.labels):
            raise untrusted("a joined result that names no labels", f"one of {len(manifest.labels)} at every place")
        return cls(manifest.labels, classes)

    @property
    def areas(self) -> dict[str, float]:
        """By label, the largest first, which part of the picture has it; labels that no place has are left out."""
        counts = np.bincount(self.classes.reshape(-1), minlength=len(self.labels)) / self.classes.size
        return {self.labels[i]: float(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i]}

    def resized(self, height: int, width: int) -> npt.NDArray[np.int64]:
        """Return int64 [height, width]: to every pixel the label of the place that it lies in."""
        rows, columns = (
            np.arange(size) * places // size for size, places in zip((height, width), self.classes.shape, strict=True)
        )
        found: npt.NDArray[np.int64] = self.classes[rows[:, None], columns]
        return found

    def to_json(self) -> dict[str, Any]:
        return {"map": self.classes.tolist(), "labels": list(self.labels), "areas": self.areas}


def _firsts(manifest: Manifest) -> npt.NDArray[np.int64]:
    """Return int64 [rows, columns]: the position of the first label of every place."""
    rows, columns = manifest.reveal.shape
    return np.arange(rows * columns, dtype=np.int64).reshape(rows, columns) * len(manifest.labels)
