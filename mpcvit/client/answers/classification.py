"""Which label is likeliest: from logits, or from nothing but the labels in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mpcvit.client.answers.answer import Answer, real_numbers, untrusted
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False, eq=False)
class Classification(Answer):
    """An answer of ``logits``, ``topk`` or ``label``.

    Attributes:
        labels: one name per class.
        ranking: positions in ``labels``, likeliest first: all of them with logits, else as many as are revealed.
        logits: float64 [classes]; None if they are not revealed.
    """

    labels: tuple[str, ...]
    ranking: tuple[int, ...]
    logits: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        logits = real_numbers(manifest, codes, "logits") if manifest.reveal.logits else None
        ranking = _named(manifest, codes) if logits is None else np.argsort(-logits, kind="stable").tolist()
        return cls(manifest.labels, tuple(ranking), logits)

    @property
    def label(self) -> str:
        """Name of the likeliest class."""
        return self.labels[self.ranking[0]]

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """Softmax of the logits; None if they are not revealed."""
        return None if self.logits is None else softmax(self.logits)

    def top(self, count: int) -> list[tuple[str, float | None]]:
        """Return the ``count`` likeliest labels, or all that are revealed, with their probabilities.

        None where these are not revealed.
        """
        found = self.probabilities
        return [(self.labels[i], None if found is None else float(found[i])) for i in self.ranking[:count]]

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"label": self.label, "top": [self.labels[i] for i in self.ranking]}
        if self.probabilities is not None:
            document["probabilities"] = dict(zip(self.labels, map(float, self.probabilities), strict=True))
        return document


def _named(manifest: Manifest, codes: Codes) -> list[int]:
    """Return the positions in ``codes``, which end with how many candidates took the places: one each."""
    ranking: list[int]
    *ranking, found = codes.tolist()
    if found != manifest.reveal.top:
        raise untrusted("places that not one label each took", f"{manifest.reveal.top} labels found")
    if len(set(ranking) & set(range(len(manifest.labels)))) != len(ranking):
        raise untrusted(
            "a joined result that names no labels", f"{len(ranking)} different ones of {len(manifest.labels)} labels"
        )
    return ranking


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return exp(x) / sum exp(x) over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return shares
