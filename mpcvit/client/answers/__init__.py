"""What models answer, a type for each kind."""

from mpcvit.client.answers.answer import Answer
from mpcvit.client.answers.classification import Classification
from mpcvit.client.answers.label_map import LabelMap
from mpcvit.client.answers.match import Match
from mpcvit.client.answers.scalar import Scalar
from mpcvit.client.answers.scores import Scores
from mpcvit.client.answers.tags import Tags
from mpcvit.client.answers.vector import Vector
from mpcvit.wire.reveal import RevealKind

#: By what a model reveals, what the client makes of it.
ANSWERS: dict[RevealKind, type[Answer]] = {
    RevealKind.LOGITS: Classification,
    RevealKind.TOPK: Classification,
    RevealKind.LABEL: Classification,
    RevealKind.SCORES: Scores,
    RevealKind.TAGS: Tags,
    RevealKind.VECTOR: Vector,
    RevealKind.SCALAR: Scalar,
    RevealKind.MAP: LabelMap,
    RevealKind.MATCH: Match,
}

__all__ = ["ANSWERS", "Answer", "Classification", "LabelMap", "Match", "Scalar", "Scores", "Tags", "Vector"]
