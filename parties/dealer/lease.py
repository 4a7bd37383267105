"""One lease: what was ordered, what each party gets, and how far its material has gone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from parties.common.session_record import Timeline
from parties.common.settings import EngineName
from parties.dealer.dealing import Dealing


@dataclass(frozen=True)
class MaterialOrder:
    """What the parties of a session ask for; all of them the same.

    Attributes:
        material_id: 16 bytes that the parties chose; serves once.
        objective, weight_mask_id: fast engine only; else empty.
    """

    material_id: bytes
    program_sha256: bytes
    model_version: str
    parties: int
    engine: EngineName
    objective: str
    weight_mask_id: bytes


@dataclass(frozen=True, repr=False)
class LeasePart:
    """A party's part of a lease: public id, its seed, the length of its material, the fast engine's plan digest."""

    lease_id: bytes
    seed: bytes
    material_bytes: int
    plan_sha256: bytes


@dataclass(repr=False)
class OpenLease:
    """One order's state.

    Attributes:
        lease_id: public, random.
        seeds: each party's, random; overwritten when the lease ends.
        dealing: makes the material as parties read it.
        taken: parties that have their seed.
        reading: parties whose material is on its way.
        done: parties that have all of theirs.
        moved: monotonic time when a party last read from it.
        expiry: ends the lease.
        timeline: when it was leased, and first read.
    """

    order: MaterialOrder
    lease_id: bytes
    seeds: list[bytearray]
    dealing: Dealing
    moved: float = field(default_factory=time.monotonic)
    expiry: threading.Timer | None = None
    taken: set[int] = field(default_factory=set)
    reading: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def complete(self) -> bool:
        """Whether every party has all of its material."""
        return len(self.done) == self.order.parties

    def erase(self) -> None:
        """Forget the seeds, and deal no more under them."""
        if self.expiry is not None:
            self.expiry.cancel()
        self.dealing.close()
        for seed in self.seeds:
            seed[:] = bytes(len(seed))
