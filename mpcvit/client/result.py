"""What an inference gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpcvit.errors import NotRevealed, ProtocolViolation
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.reveal import Reveal


@dataclass(frozen=True)
class Stats:
    """What one party spent on a session; bytes are payload without framing and TLS.

    Attributes:
        offline_s: seconds until the party's correlated randomness was there.
        online_s: seconds from the first masked byte to the result share.
        peer_wait_s, material_wait_s: parts of ``online_s`` spent waiting for peers and for late material.
        rounds: message exchanges between parties, setup included.
        bytes_sent: to all other parties.
        material_bytes: received from the dealer.
    """

    offline_s: float
    online_s: float
    peer_wait_s: float
    material_wait_s: float
    rounds: int
    bytes_sent: int
    material_bytes: int


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
    """

    model: str
    version: str
    labels: tuple[str, ...]
    reveal: Reveal
    ranking: tuple[int, ...]
    session_id: str
    stats: tuple[Stats, ...]
    _logits: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes, session_id: str, stats: tuple[Stats, ...]) -> Inference:
        """The answer of a model whose joined result is ``codes``, int64 [outputs].

        Raises:
            ProtocolViolation: the codes name no labels.
        """
        logits = decode(codes, manifest.output_frac) if manifest.reveal.logits else None
        ranking = codes.tolist() if logits is None else np.argsort(-logits, kind="stable").tolist()
        if len(set(ranking) & set(range(len(manifest.labels)))) != len(ranking):
            raise ProtocolViolation(
                "a joined result that names no labels",
                expected=f"{manifest.outputs} different ones of {len(manifest.labels)} labels",
                remedy="Run the same version of mpcvit at all parties; then retry.",
            )
        names = manifest.name, manifest.version, manifest.labels
        return cls(*names, manifest.reveal, tuple(ranking), session_id, stats, logits)

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
        """The ``count`` likeliest labels, likeliest first, with their probabilities; None where these are not revealed.

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


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """exp(x) / sum exp(x) over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return shares
