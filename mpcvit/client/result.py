"""What an inference gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpcvit.client.answers import ANSWERS, Answer, Classification
from mpcvit.errors import NotRevealed
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.budget import FULL
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.ranges import Ranges
from mpcvit.wire.reveal import Disclosure
from mpcvit.wire.stats import Stats

_CALIBRATED = (
    "The model's value ranges are calibrated, not proven: its answer may be wrong where a picture is unlike those of "
    "the calibration."
)


@dataclass(frozen=True, repr=False)
class Inference:
    """A joined answer, known to the client alone.

    Which parts there are, the model's owner decided at export: :attr:`reveal` says it. Models that classify have a
    label, and perhaps logits; what others say is in :attr:`answer`.

    Attributes:
        model, version: what answered.
        labels: one name per class.
        reveal: what the model reveals.
        answer: what it says, as a type of :mod:`mpcvit.client.answers`.
        session_id: 32 hex digits.
        stats: one per party, in party order.
        notices: what should be known of how the picture was read, such as that it was the first frame of an animation.
        budget: which of the model's Programs answered.
    """

    model: str
    version: str
    labels: tuple[str, ...]
    reveal: Disclosure
    answer: Answer
    session_id: str
    stats: tuple[Stats, ...]
    notices: tuple[str, ...] = ()
    budget: str = FULL

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        codes: Codes,
        session_id: str,
        stats: tuple[Stats, ...],
        notices: tuple[str, ...] = (),
    ) -> Inference:
        """Return the answer of a model whose joined result is ``codes``, int64 [outputs].

        Raises:
            AnswerOutOfRange: the model never gives such codes.
        """
        answer = ANSWERS[manifest.reveal.kind].of(manifest, codes)
        if manifest.ranges is Ranges.CALIBRATED:
            notices = (*notices, _CALIBRATED)
        names = manifest.name, manifest.version, manifest.labels
        return cls(*names, manifest.reveal, answer, session_id, stats, notices, manifest.budget)

    def __repr__(self) -> str:
        return f"Inference(model={self.model!r}, session_id={self.session_id!r}, answer=<hidden>)"

    @property
    def label(self) -> str:
        """Name of the likeliest class.

        Raises:
            NotRevealed: the model says something else.
        """
        return self._classification("the label").label

    @property
    def ranking(self) -> tuple[int, ...]:
        """Positions in ``labels``, likeliest first: all of them with logits, else as many as are revealed.

        Raises:
            NotRevealed: the model says something else.
        """
        return self._classification("the likeliest labels").ranking

    @property
    def logits(self) -> npt.NDArray[np.float64]:
        """float64 [classes].

        Raises:
            NotRevealed: the model reveals labels only, or says something else.
        """
        logits = self._classification("the logits").logits
        if logits is None:
            raise self._not_revealed("the logits")
        return logits

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits.

        Raises:
            NotRevealed: the model reveals labels only, or says something else.
        """
        probabilities = self._classification("the probabilities").probabilities
        if probabilities is None:
            raise self._not_revealed("the probabilities")
        return probabilities

    def top(self, count: int | None = None) -> list[tuple[str, float | None]]:
        """Return the ``count`` likeliest labels, likeliest first, with their probabilities.

        None where these are not revealed.

        Args:
            count: by default 5, or as many as there are if less.

        Raises:
            NotRevealed: the model reveals fewer labels, or says something else.
        """
        classification = self._classification("the likeliest labels")
        if count is not None and not self.reveal.logits and count > self.reveal.top:
            raise self._not_revealed(f"the {count} likeliest labels")
        return classification.top(5 if count is None else count)

    def _classification(self, what: str) -> Classification:
        if not isinstance(self.answer, Classification):
            raise self._not_revealed(what)
        return self.answer

    def _not_revealed(self, what: str) -> NotRevealed:
        return NotRevealed(
            f"a request for {what} of '{self.model}'",
            expected=f"no more than the model reveals: {self.reveal}",
            remedy="Use what 'answer' holds, or ask the model's owner for an export that reveals more.",
        )

    @property
    def online_s(self) -> float:
        """Online seconds of the slowest party."""
        return max(stats.online_s for stats in self.stats)

    @property
    def offline_s(self) -> float:
        """Offline seconds of the slowest party."""
        return max(stats.offline_s for stats in self.stats)

    @property
    def rounds(self) -> int:
        """Rounds; the same at every party."""
        return max(stats.rounds for stats in self.stats)
