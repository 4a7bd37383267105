"""How a dealer is, for its operator."""

from __future__ import annotations

from mpcvit.wire.v1 import admin_pb2
from parties.common.process_status import ProcessStatus
from parties.dealer.leases import Dealer


class DealerStatus:
    """Reads a dealer; changes nothing but to let it stop."""

    def __init__(self, dealer: Dealer, process: ProcessStatus) -> None:
        self._dealer, self._process = dealer, process

    def report(self) -> admin_pb2.GetStatusResponse:
        """Return what the dealer holds.

        Raises:
            ConfigError, LedgerUnavailable: certificate or ledger cannot be read.
        """
        status = self._process.report()
        for party, count in sorted(self._dealer.held().items()):
            status.leases.add(party=f"party{party}", open=count, most=self._dealer.most_leases)
        return status

    def drain(self) -> admin_pb2.DrainResponse:
        """Begin to stop; a dealer gives its leases up at once."""
        self._process.stop()
        return admin_pb2.DrainResponse()
