"""The dealers that a party may ask: one that deals, and others that take over when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mpcvit.errors import ConfigError, MpcvitError
from mpcvit.wire.own_identity import OwnIdentity
from parties.common.audit import AuditLog
from parties.common.ledger import Ledger
from parties.common.settings import Timeouts
from parties.party.dealer_client import DealerClient
from parties.party.liveness import Monitor


class Dealers:
    """Connections to the dealers, by number, in the order in which all parties list them.

    Party 0 says which one deals. It stays with a dealer until that is lost: another has to open the weights again.
    """

    def __init__(
        self,
        addresses: list[str],
        own: OwnIdentity,
        timeouts: Timeouts,
        ledger: Ledger,
        audit: AuditLog,
        received: Callable[[int], None],
    ) -> None:
        names = ["dealer", *(f"dealer{number}" for number in range(1, len(addresses)))]
        self._clients = [
            DealerClient(name, address, own, timeouts, ledger, audit, received)
            for name, address in zip(names, addresses, strict=True)
        ]
        self._lock = threading.Lock()
        self._current = 0

    def __getitem__(self, number: int) -> DealerClient:
        """Return the connection to a dealer.

        Raises:
            ConfigError: there is no such dealer in this party's configuration.
        """
        if not 0 <= number < len(self._clients):
            raise ConfigError(
                f"dealer {number} of {len(self._clients)}",
                expected="the same dealers in the same order at all parties",
                remedy="Correct 'dealer' and 'standby_dealers' in the configuration.",
            )
        return self._clients[number]

    @property
    def current(self) -> int:
        """The number of the dealer that deals: the one that dealt last, or the first other that is not lost."""
        with self._lock:
            if self._clients[self._current].monitor.lost is not None:
                there = (number for number, client in enumerate(self._clients) if client.monitor.lost is None)
                self._current = next(there, self._current)
            return self._current

    @property
    def lost(self) -> MpcvitError | None:
        """Why no dealer can deal; None if one can."""
        return self.monitor.lost

    @property
    def monitor(self) -> Monitor:
        """Signs of life of the dealer that deals."""
        return self._clients[self.current].monitor

    @property
    def monitors(self) -> list[Monitor]:
        """Signs of life of all dealers."""
        return [client.monitor for client in self._clients]

    def start(self) -> None:
        """Begin to ask for signs of life."""
        for client in self._clients:
            client.monitor.start()

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()
