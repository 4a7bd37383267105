"""A score for each of several labels, of which any number may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mpcvit.client.answers.answer import Answer, real_numbers
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False, eq=False)
class Scores(Answer):
    """An answer of ``scores``.

    Attributes:
        labels: one name per score.
        logits: float64 [labels], as the parties' shares add up to.
    """

    labels: tuple[str, ...]
    logits: npt.NDArray[np.float64]

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        return cls(manifest.labels, real_numbers(manifest, codes, "scores"))

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Sigmoid of the logits, each for itself: float64 [labels] in [0, 1]."""
        # of -|x|, whose exponential is at most 1
        small = np.exp(-np.abs(self.logits))
        found: npt.NDArray[np.float64] = np.where(self.logits >= 0, 1.0, small) / (1.0 + small)
        return found

    @property
    def by_label(self) -> dict[str, float]:
        """Scores by label, the highest first."""
        scores = self.scores
        return {self.labels[i]: float(scores[i]) for i in np.argsort(-self.logits, kind="stable")}

    def to_json(self) -> dict[str, Any]:
        return {"scores": self.by_label}
