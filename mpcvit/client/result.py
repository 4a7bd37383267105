"""What an inference gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpcvit.errors import AnswerOutOfRange, NotRevealed
from mpcvit.ring.fixed_point import Codes, decode
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

    Which parts there are, the model's owner decided at export: :attr:`reveal` says it. There is always a label.

    Attributes:
        model, version: what answered.
        labels: one name per class.
        reveal: what the model reveals.
        ranking: positions in ``labels``, likeliest first: all of them with logits, else as many as are revealed.
        session_id: 32 hex digits.
        stats: one per party, in party order.
        notices: what should be known of how the picture was read, such as that it was the first frame of an animation.
    """

    model: str
    version: str
    labels: tuple[str, ...]
    reveal: Disclosure
    ranking: tuple[int, ...]
    session_id: str
    stats: tuple[Stats, ...]
    _logits: npt.NDArray[np.float64] | None = None
    notices: tuple[str, ...] = ()

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
            AnswerOutOfRange: the codes are no logits of the model, or name no labels.
        """
        logits = _logits(manifest, codes) if manifest.reveal.logits else None
        ranking = _named(manifest, codes) if logits is None else np.argsort(-logits, kind="stable").tolist()
        names = manifest.name, manifest.version, manifest.labels
        if manifest.ranges is Ranges.CALIBRATED:
            notices = (*notices, _CALIBRATED)
        return cls(*names, manifest.reveal, tuple(ranking), session_id, stats, logits, notices)

    def __repr__(self) -> str:
        return f"Inference(model={self.model!r}, session_id={self.session_id!r}, answer=<hidden>)"

    @property
    def label(self) -> str:
        """Name of the likeliest class."""
        return self.labels[self.ranking[0]]

    @property
    def logits(self) -> npt.NDArray[np.float64]:
        """float64 [classes].

        Raises:
            NotRevealed: the model reveals labels only.
        """
        if self._logits is None:
            raise self._not_revealed("the logits")
        return self._logits

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits.

        Raises:
            NotRevealed: the model reveals labels only.
        """
        if self._logits is None:
            raise self._not_revealed("the probabilities")
        return softmax(self._logits)

    def top(self, count: int | None = None) -> list[tuple[str, float | None]]:
        """Return the ``count`` likeliest labels, likeliest first, with their probabilities.

        None where these are not revealed.

        Args:
            count: by default 5, or as many as there are if less.

        Raises:
            NotRevealed: the model reveals fewer labels.
        """
        if count is not None and not self.reveal.logits and count > self.reveal.top:
            raise self._not_revealed(f"the {count} likeliest labels")
        order = self.ranking[: 5 if count is None else count]
        probabilities = None if self._logits is None else softmax(self._logits)
        return [(self.labels[i], None if probabilities is None else float(probabilities[i])) for i in order]

    def _not_revealed(self, what: str) -> NotRevealed:
        return NotRevealed(
            f"a request for {what} of '{self.model}'",
            expected=f"no more than the model reveals: {self.reveal}",
            remedy="Use label and top(), or ask the model's owner for an export that reveals more.",
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


def untrusted(got: str, expected: str) -> AnswerOutOfRange:
    """Return why there is no answer. Says nothing of what was joined."""
    return AnswerOutOfRange(
        got,
        expected=expected,
        remedy="This picture takes the model out of the range that it was exported for; no answer can be trusted. Ask "
        "the model's owner for an export with proven ranges.",
    )


def _logits(manifest: Manifest, codes: Codes) -> npt.NDArray[np.float64]:
    kind = manifest.output_type
    logits = decode(codes, kind.frac)
    if logits.min() < kind.lo - kind.step or logits.max() > kind.hi + kind.step:
        raise untrusted("logits that the model never gives", f"from {kind.lo:g} to {kind.hi:g}")
    return logits


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
