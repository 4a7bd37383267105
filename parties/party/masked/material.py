"""One session's material at a party, all of it: in memory if short, else in a sealed file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from mpcvit.engines.masked.plan_material import PlanMaterial
from parties.party.dealer_client import DealerClient, Lease
from parties.party.masked.sealed_file import SealedFile


class StoredMaterial(PlanMaterial):
    """Fetches a lease's material when made.

    Args:
        dealer: connection to the dealer.
        lease: whose material.
        folder: where a file lies.
        memory_bytes: longest material that is kept in memory.
        wanted: called while it comes; raises if it is not needed any more.

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
        wanted: Callable[[], object],
    ) -> None:
        self._lease = lease
        self._view = memoryview(b"")
        self._file: SealedFile | None = None
        if not lease.material_bytes:
            return
        if lease.material_bytes <= memory_bytes:
            buffer = io.BytesIO()
            dealer.store(lease, buffer, wanted)
            self._view = buffer.getbuffer()
            return
        self._file = SealedFile(folder)
        dealer.store(lease, self._file, wanted)
        self._file.finish()

    @property
    def seed(self) -> bytes:
        return self._lease.seed

    @property
    def session(self) -> bytes:
        return self._lease.request.material_id

    def read(self, start: int, count: int) -> memoryview:
        return self._view[start : start + count] if self._file is None else self._file.read(start, count)
