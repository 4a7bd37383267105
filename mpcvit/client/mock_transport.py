"""Parties that answer in clear in this process, for testing applications without a network."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from mpcvit.client.transport import Offer, OnProgress, PartyTransport, Submission
from mpcvit.errors import SessionCancelled, SessionUnknown
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import join, mask
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.reveal import RevealKind
from mpcvit.wire.stats import Stats


class MockTransport(PartyTransport):
    """One of several fake parties that share a handler. Not secure: it joins the shares.

    Args:
        manifest: the one model.
        handler: from input codes, of the shape of the model's input, to codes of what the model computes: logits
            [classes], those of a map [rows, columns, classes], a vector, a number, or the bit of a match. The fake
            parties reveal of them what the manifest says.
    """

    @classmethod
    def parties(cls, manifest: Manifest, handler: Callable[[Codes], Codes]) -> list[MockTransport]:
        """Return one transport per party of ``manifest``."""
        inbox: dict[bytes, dict[int, Codes]] = {}
        cancelled: set[bytes] = set()
        changed = threading.Condition()
        return [cls(index, manifest, handler, inbox, cancelled, changed) for index in range(manifest.parties)]

    def __init__(
        self,
        index: int,
        manifest: Manifest,
        handler: Callable[[Codes], Codes],
        inbox: dict[bytes, dict[int, Codes]],
        cancelled: set[bytes],
        changed: threading.Condition,
    ) -> None:
        self._index, self._manifest, self._handler = index, manifest, handler
        self._inbox, self._cancelled, self._changed = inbox, cancelled, changed

    def offers(self, deadline: float) -> list[Offer]:
        return [Offer(self._manifest)]

    def submit(self, submission: Submission, deadline: float) -> None:
        session_id, share = submission.spec.session_id, submission.share
        if isinstance(share, bytes):
            share = mask(Prg(share), self._manifest.input_shape, session_id)
        with self._changed:
            self._inbox.setdefault(session_id, {})[self._index] = share
            self._changed.notify_all()

    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple[ResultShare, Stats]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._complete(session_id) or session_id in self._cancelled, timeout=deadline - time.monotonic()
            )
            shares: Sequence[Codes] = list(self._inbox.get(session_id, {}).values())
            complete, cancelled = self._complete(session_id), session_id in self._cancelled
        if cancelled:
            raise SessionCancelled("a cancelled session", expected="a running one", remedy="Submit again.")
        if not complete:
            raise SessionUnknown("shares from some parties only", expected="all shares", remedy="Submit to all.")
        logits = self._handler(join(shares))
        progress("online", 1, 1)
        result = _revealed(self._manifest, logits)
        own = result if self._index == 0 else np.zeros_like(result)
        return ResultShare(own), Stats(0.0, 0.0, 0.0, 0.0, 0, 0, 0)

    def cancel(self, session_id: bytes) -> None:
        with self._changed:
            self._inbox.pop(session_id, None)
            self._cancelled.add(session_id)
            self._changed.notify_all()

    def close(self) -> None:
        self._inbox.clear()

    def _complete(self, session_id: bytes) -> bool:
        return len(self._inbox.get(session_id, {})) == self._manifest.parties


def _revealed(manifest: Manifest, computed: Codes) -> Codes:
    """Return the result that a model would give that computes this."""
    reveal = manifest.reveal
    if reveal.kind in (RevealKind.LABEL, RevealKind.TOPK):  # and how many labels were found, at each place one
        return np.append(np.argsort(-computed, kind="stable")[: reveal.top], reveal.top)
    if reveal.kind is RevealKind.MAP:
        rows, columns, classes = computed.shape
        firsts = np.arange(rows * columns) * classes
        return np.append(computed.argmax(-1).reshape(-1) + firsts, rows * columns)
    if reveal.threshold is not None and reveal.kind is RevealKind.TAGS:
        least = math.log(reveal.threshold / (1.0 - reveal.threshold))
        return (decode(computed, manifest.output_type.frac) >= least).astype(np.int64)
    return computed.reshape(-1)
