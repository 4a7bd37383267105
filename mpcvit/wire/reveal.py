"""What a model tells the client about a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mpcvit.errors import ConfigError

#: From which score on a label is told, where nobody says otherwise.
_DEFAULT_SCORE = 0.5


class RevealKind(StrEnum):
    """Which part of the answer leaves the parties, as shares that only the client joins.

    ``SCORES`` are numbers from which the client makes a score in (0, 1) for each of several labels, independent of one
    another; of ``TAGS`` it learns alone which labels score enough. ``VECTOR`` is an embedding, ``SCALAR`` one number.
    ``MAP`` is the likeliest label of every place of a grid, ``MATCH`` one bit: whether the picture's embedding is like
    a secret reference.
    """

    LOGITS = "logits"
    TOPK = "topk"
    LABEL = "label"
    SCORES = "scores"
    TAGS = "tags"
    VECTOR = "vector"
    SCALAR = "scalar"
    MAP = "map"
    MATCH = "match"

    @property
    def facts(self) -> RevealFacts:
        """What is known of the kind."""
        return _FACTS[self]


@dataclass(frozen=True, kw_only=True)
class RevealFacts:
    """What is known of a kind of answer.

    Attributes:
        least_labels: labels that a model needs for it; 0 if the answer speaks of no labels, and the model has none.
        ranked: whether the answer is about which label is likeliest, so that there is always a likeliest one.
        real: whether a result is real numbers in fixed point; else it is integers.
        axes: of the answer's shape, which the manifest has to say.
        thresholded: whether something is compared with a public threshold in (0, 1).
    """

    least_labels: int = 0
    ranked: bool = False
    real: bool = False
    axes: int = 0
    thresholded: bool = False


_FACTS = {
    RevealKind.LOGITS: RevealFacts(least_labels=1, ranked=True, real=True),
    RevealKind.TOPK: RevealFacts(least_labels=2, ranked=True),
    RevealKind.LABEL: RevealFacts(least_labels=2, ranked=True),
    RevealKind.SCORES: RevealFacts(least_labels=1, real=True),
    RevealKind.TAGS: RevealFacts(least_labels=1, thresholded=True),
    RevealKind.VECTOR: RevealFacts(real=True, axes=1),
    RevealKind.SCALAR: RevealFacts(real=True),
    RevealKind.MAP: RevealFacts(least_labels=2, axes=2),
    RevealKind.MATCH: RevealFacts(thresholded=True),
}


@dataclass(frozen=True)
class Disclosure:
    """What leaves the parties, and nothing else of the answer.

    Attributes:
        kind: which.
        top: how many labels: 1 for ``label``, at least 1 for ``topk``, 0 for others.
        threshold: in (0, 1): the least score of a tag, or the least cosine of a match; None for others.
        shape: numbers in a vector, or [rows, columns] of a map; empty for others, and where the model is still to say.

    Raises:
        ConfigError: one of these does not fit ``kind``.
    """

    kind: RevealKind = RevealKind.LOGITS
    top: int = 0
    threshold: float | None = None
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        tops = {RevealKind.LABEL: self.top == 1, RevealKind.TOPK: self.top >= 1}
        if not tops.get(self.kind, self.top == 0):
            raise ConfigError(
                f"reveal {self.kind} with top {self.top}",
                expected="a top of at least 1 for topk, and none for logits, label and others",
                remedy="Say how many labels to reveal with topk, and only there.",
            )
        if not self._threshold_fits:
            raise ConfigError(
                f"reveal {self.kind} with threshold {self.threshold}",
                expected="a threshold between 0 and 1 for tags and match, and none for others",
                remedy="Say from which score or cosine on with tags and match, and only there.",
            )
        if self.shape and (len(self.shape) != self.kind.facts.axes or min(self.shape) < 1):
            raise ConfigError(
                f"reveal {self.kind} of shape {self.shape}",
                expected=f"{self.kind.facts.axes} positive sizes",
                remedy="Let the export say the shape.",
            )

    @property
    def _threshold_fits(self) -> bool:
        if self.threshold is None:
            return not self.kind.facts.thresholded
        return self.kind.facts.thresholded and 0.0 < self.threshold < 1.0

    @classmethod
    def label(cls) -> Disclosure:
        """Return the likeliest label alone."""
        return cls(RevealKind.LABEL, 1)

    @classmethod
    def topk(cls, top: int) -> Disclosure:
        """Return the ``top`` likeliest labels, likeliest first."""
        return cls(RevealKind.TOPK, top)

    @classmethod
    def tags(cls, least_score: float = _DEFAULT_SCORE) -> Disclosure:
        """Return the labels that score at least so much."""
        return cls(RevealKind.TAGS, threshold=least_score)

    @classmethod
    def match(cls, least_cosine: float) -> Disclosure:
        """Return whether the picture's embedding is as like the reference as this cosine says."""
        return cls(RevealKind.MATCH, threshold=least_cosine)

    @classmethod
    def parse(cls, kind: str, top: int | None = None, threshold: float | None = None) -> Disclosure:
        """Return what ``kind``, ``top`` and ``threshold`` on a command line mean.

        Raises:
            ConfigError: no such kind, or the others do not fit it.
        """
        if kind not in set(RevealKind):
            raise ConfigError(
                f"reveal '{kind}'", expected=f"one of {', '.join(RevealKind)}", remedy="Choose one of these."
            )
        known = RevealKind(kind)
        if known is RevealKind.TAGS and threshold is None:
            threshold = _DEFAULT_SCORE
        return cls(known, top if top is not None else 1 if known is RevealKind.LABEL else 0, threshold)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Disclosure:
        """Return what :meth:`to_json` took apart.

        Raises:
            ValueError, TypeError, KeyError, ConfigError: it is no disclosure, or not in this form.
        """
        kind, top, shape = document["kind"], document["top"], document.get("shape", [])
        threshold = document.get("threshold")
        if type(top) is not int or any(type(size) is not int for size in shape):
            raise ValueError("top or shape")
        if threshold is not None and type(threshold) is not float:
            raise ValueError("threshold")
        found = cls(RevealKind(kind), top, threshold, tuple(shape))
        if found.to_json() != document:
            raise ValueError("fields")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; what a kind does not have is left out, as before there were such kinds."""
        document: dict[str, Any] = {"kind": str(self.kind), "top": self.top}
        if self.threshold is not None:
            document["threshold"] = self.threshold
        if self.shape:
            document["shape"] = list(self.shape)
        return document

    def of_shape(self, shape: tuple[int, ...]) -> Disclosure:
        """Return the same of a model whose answer has this shape."""
        return replace(self, shape=shape)

    @property
    def logits(self) -> bool:
        """Whether the client gets logits."""
        return self.kind is RevealKind.LOGITS

    @property
    def complete(self) -> bool:
        """Whether it says the answer's shape, if the kind needs one."""
        return len(self.shape) == self.kind.facts.axes

    def fits(self, labels: int) -> bool:
        """Return whether a model of so many labels can reveal it."""
        least = self.kind.facts.least_labels
        return labels >= max(least, self.top) if least else labels == 0

    def outputs(self, labels: int) -> int:
        """Return the codes in a result of a model of so many labels.

        Behind labels comes how many candidates took their places, for the client to check.
        """
        if self.kind in (RevealKind.LABEL, RevealKind.TOPK):
            return self.top + 1
        if self.kind is RevealKind.MAP:
            return math.prod(self.shape) + 1
        return labels if self.kind.facts.least_labels else math.prod(self.shape)

    def __str__(self) -> str:
        if self.kind in (RevealKind.LABEL, RevealKind.TOPK):
            return "its likeliest label alone" if self.top == 1 else f"its {self.top} likeliest labels alone"
        sizes = " x ".join(map(str, self.shape))
        return {
            RevealKind.LOGITS: "its logits",
            RevealKind.SCORES: "a score for each label",
            RevealKind.TAGS: f"which labels score at least {self.threshold}, no more",
            RevealKind.VECTOR: f"a vector of {sizes or 'some'} numbers",
            RevealKind.SCALAR: "one number",
            RevealKind.MAP: f"the likeliest label alone of each of {sizes or 'some'} places",
            RevealKind.MATCH: f"whether the cosine to a secret reference is above {self.threshold}, no more",
        }[self.kind]


LOGITS = Disclosure()
"""What models reveal by default."""
