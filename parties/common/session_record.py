"""What is told about a session once it has ended: to the log, to metrics and to traces."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

log = logging.getLogger("mpcvit.session")

#: The code of a session whose result is there; any other is the reason of an error.
OK = "OK"


@dataclass(frozen=True)
class Phase:
    """One part of a session's life; Unix times in nanoseconds."""

    name: str
    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e9


class Timeline:
    """When a session entered each of its phases. Clocks that are set while it runs do not matter."""

    def __init__(self) -> None:
        self._unix_ns = time.time_ns() - time.monotonic_ns()
        self._entered: list[tuple[str, int]] = []

    def enter(self, phase: str) -> None:
        """Note that ``phase`` begins now, unless it is the current one."""
        if not self._entered or self._entered[-1][0] != phase:
            self._entered.append((phase, self._now()))

    def phases(self) -> tuple[Phase, ...]:
        """Return all phases so far, the last one until now."""
        ends = [start for _, start in self._entered[1:]] + [self._now()]
        return tuple(Phase(name, start, end) for (name, start), end in zip(self._entered, ends, strict=True))

    def _now(self) -> int:
        return self._unix_ns + time.monotonic_ns()


@dataclass(frozen=True)
class SessionRecord:
    """How a session went at one party. Nothing here depends on pictures, weights or randomness.

    Attributes:
        client: role in the certificate of whoever submitted it.
        model: its name.
        code: :data:`OK`, or the reason of its failure.
        phases: what it went through, in order.
        rounds: exchanges with peers; 0 for a failure.
        bytes_sent, bytes_received: payload by the number of the peer.
    """

    session_id: bytes
    client: str
    model: str
    code: str
    phases: tuple[Phase, ...]
    rounds: int
    bytes_sent: dict[int, int]
    bytes_received: dict[int, int]

    @property
    def seconds(self) -> float:
        """From the share's arrival to the end."""
        return (self.phases[-1].end_ns - self.phases[0].start_ns) / 1e9 if self.phases else 0.0


def log_session(record: SessionRecord) -> None:
    """Write one line about an ended session."""
    log.info(
        "session %s",
        "answered" if record.code == OK else f"failed: {record.code}",
        extra={
            "session": record.session_id.hex(),
            "client": record.client,
            "model": record.model,
            "code": record.code,
            "seconds": round(record.seconds, 3),
            "rounds": record.rounds,
            "bytes_sent": sum(record.bytes_sent.values()),
            "bytes_received": sum(record.bytes_received.values()),
        },
    )
