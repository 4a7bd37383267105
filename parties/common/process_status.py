"""How this process is: what every role tells its operator."""

from __future__ import annotations

import datetime
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from mpcvit import __version__
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.own_certificate import expires
from mpcvit.wire.v1 import admin_pb2, session_pb2
from parties.common.conditions import available_memory
from parties.common.readiness import STOPPING, Readiness

_DAY = datetime.timedelta(days=1)


class ProcessStatus:
    """What parties and dealers have in common.

    Args:
        role: e.g. ``party0``.
        cert: the own certificate's file.
        mark: says how far the own ledger has come.
    """

    def __init__(self, role: str, cert: Path, mark: Callable[[], session_pb2.LedgerMark], readiness: Readiness) -> None:
        self._role, self._cert, self._mark, self._readiness = role, cert, mark, readiness
        self._start = time.monotonic()

    def report(self) -> admin_pb2.GetStatusResponse:
        """Return the status without what only a party or a dealer has.

        Raises:
            ConfigError: the certificate cannot be read.
            LedgerUnavailable: the ledger cannot be read.
        """
        unmet = self._readiness.unmet
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        return admin_pb2.GetStatusResponse(
            role=self._role,
            version=__version__,
            protocol_version=PROTOCOL_VERSION,
            uptime_s=time.monotonic() - self._start,
            draining=STOPPING in unmet,
            unmet=unmet,
            certificate_days=(expires(self._cert) - datetime.datetime.now(datetime.UTC)) / _DAY,
            ledger=self._mark(),
            memory=admin_pb2.MemoryStatus(
                resident_bytes=resident_pages * os.sysconf("SC_PAGE_SIZE"), available_bytes=available_memory()
            ),
            unix_time_s=time.time(),
        )

    @staticmethod
    def stop() -> None:
        """Begin to stop the process, as SIGTERM does."""
        os.kill(os.getpid(), signal.SIGTERM)
