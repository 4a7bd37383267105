"""One session's material at a party, all of it: in memory if short, else in an unnamed file that is mapped."""

from __future__ import annotations

import io
import mmap
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from mpcvit.program.fast import PlanMaterial
from mpcvit.program.fast_dealer import Attempts
from parties.dealer_client import DealerClient, Lease


class StoredMaterial(PlanMaterial):
    """Fetches a lease's material when made.

    The file has no name: no other process can open it, and it is gone when the session or the process ends.

    Args:
        dealer: connection to the dealer.
        lease: whose material.
        folder: where the file lies.
        memory_bytes: longest material that is kept in memory.
        fetch_s, again_s: seconds for fetching it, and for spare masks.

    Raises:
        DealerError: it does not come.
    """

    def __init__(
        self,
        dealer: DealerClient,
        lease: Lease,
        *,
        folder: Path,
        memory_bytes: int,
        fetch_s: float,
        again_s: float,
    ) -> None:
        self._dealer, self._lease, self._again_s = dealer, lease, again_s
        self._view = memoryview(b"")
        if not lease.material_bytes:
            return
        if lease.material_bytes <= memory_bytes:
            buffer = io.BytesIO()
            dealer.store(lease, buffer, fetch_s)
            self._view = buffer.getbuffer()
            return
        with tempfile.TemporaryFile(dir=folder) as unnamed:
            dealer.store(lease, unnamed, fetch_s)
            unnamed.flush()
            self._view = memoryview(mmap.mmap(unnamed.fileno(), 0, access=mmap.ACCESS_READ))

    @property
    def seed(self) -> bytes:
        return self._lease.seed

    @property
    def session(self) -> bytes:
        return self._lease.request.material_id

    def read(self, start: int, count: int) -> memoryview:
        return self._view[start : start + count]

    def again(self, attempts: Attempts, ambiguous: Collection[str]) -> Mapping[str, bytes]:
        return self._dealer.redeal(self._lease, attempts, ambiguous, self._again_s)
