"""Softmax over rows: the division waits for the product behind it."""

from __future__ import annotations

from mpcvit.export.attention.softmax import softmax_mix, softmax_weights
from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalised_weights
from mpcvit.export.traced.rows.pending import Movement, PendingRows


class SoftmaxRows(PendingRows):
    """softmax(scores) over the last axis.

    Attributes:
        scores: of ordinary precision.
    """

    def __init__(self, name: str, scores: Value) -> None:
        self.name, self.scores = name, scores

    @property
    def shape(self) -> tuple[int, ...]:
        return self.scores.type.shape

    def moved(self, name: str, move: Movement) -> SoftmaxRows:
        return SoftmaxRows(name, move(f"{name}.scores", self.scores))

    def mix(self, b: Builder, name: str, values: Value) -> Value:
        """Return softmax(scores) @ values: one row factor behind the product."""
        return softmax_mix(b, name, self.scores, values)

    def computed(self, b: Builder) -> Value:
        rows = softmax_weights(b, self.name, self.scores)
        output, _ = normalised_weights(b, f"{self.name}.output", rows.weights, rows.total, rows.negative)
        return output
