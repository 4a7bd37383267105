"""Exact counts of what one party said and how long it waited, per tag."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Count:
    """Totals of one tag.

    Attributes:
        rounds: exchanges this party took part in; messages sent at the same time are one round.
        bytes_sent, bytes_received: payload bytes over all peers, without framing and TLS.
        wait_s: seconds blocked on others.
    """

    rounds: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    wait_s: float = 0.0

    def add(self, other: Count) -> None:
        """Add ``other`` to this count, field by field."""
        self.rounds += other.rounds
        self.bytes_sent += other.bytes_sent
        self.bytes_received += other.bytes_received
        self.wait_s += other.wait_s


@dataclass(slots=True)
class Trace:
    """Counts by tag, in order of first use. Holds no payload."""

    counts: dict[str, Count] = field(default_factory=dict)

    def of(self, tag: str) -> Count:
        """Return the live count of ``tag``, made when first asked for."""
        return self.counts.setdefault(tag, Count())

    def total(self, prefix: str = "") -> Count:
        """Return the sum over all tags that start with ``prefix``."""
        total = Count()
        for tag, count in self.counts.items():
            if tag.startswith(prefix):
                total.add(count)
        return total
