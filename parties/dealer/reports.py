"""How leases ended, told to metrics and to traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parties.common.metrics import Metrics
from parties.dealer.lease import OpenLease

if TYPE_CHECKING:
    from parties.common.otlp import Tracing


class LeaseReports:
    """What a dealer says about its leases, and to whom.

    Args:
        tracing: gets spans, if the configuration asks for them.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing | None) -> None:
        self._metrics, self._tracing = metrics, tracing

    def ended(self, lease: OpenLease) -> None:
        """Report a lease: ``dealt`` to all parties, or ``unused``."""
        code, material_id = "dealt" if lease.complete else "unused", lease.order.material_id
        self._metrics.count_burned(code)
        if self._tracing is not None:
            attributes: dict[str, str | int] = {"mpcvit.material_id": material_id.hex(), "mpcvit.code": code}
            self._tracing.send("material", material_id, lease.timeline.phases(), attributes, failed=not lease.complete)

    def close(self) -> None:
        """Send what is left."""
        if self._tracing is not None:
            self._tracing.close()
