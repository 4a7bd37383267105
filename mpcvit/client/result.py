"""What an inference gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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

    Attributes:
        model, version: what answered.
        labels: one name per logit.
        logits: float64 [classes].
        session_id: 32 hex digits.
        stats: one per party, in party order.
    """

    model: str
    version: str
    labels: tuple[str, ...]
    logits: npt.NDArray[np.float64]
    session_id: str
    stats: tuple[Stats, ...]

    def __repr__(self) -> str:
        return f"Inference(model={self.model!r}, session_id={self.session_id!r}, answer=<hidden>)"

    @property
    def label(self) -> str:
        """Name of the largest logit."""
        return self.labels[int(self.logits.argmax())]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax of the logits."""
        return softmax(self.logits)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The ``count`` likeliest labels with their probabilities, likeliest first."""
        order = np.argsort(-self.logits)[:count]
        return [(self.labels[index], float(self.probabilities[index])) for index in order]

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
