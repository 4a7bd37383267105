"""The dealer: correlated randomness for sessions that it knows nothing else about."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from mpcvit.errors import (
    ConfigError,
    MpcvitError,
    NotAllowed,
    Overloaded,
    ProgramMismatch,
    SessionReplayed,
    SessionUnknown,
)
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES
from mpcvit.wire.v1 import session_pb2
from parties.common.audit import AuditEvent, AuditLog
from parties.common.failpoints import Failpoint, failpoint
from parties.common.ledger import Ledger
from parties.common.settings import DealerSettings, EngineName
from parties.dealer.dealing import Dealing, FastDealing, StockDealing
from parties.dealer.lease import LeasePart, MaterialOrder, OpenLease
from parties.dealer.programs import Programs
from parties.dealer.weight_masks import WeightMasks

log = logging.getLogger("mpcvit.dealer")
_LEASE_ID_BYTES = 16


class Dealer:
    """Leases and deals. Every lease gets fresh random seeds, which are erased once both parties have their material.

    Args:
        ended: called with every lease that has ended.

    Attributes:
        audit: what the dealer did.

    Raises:
        ModelFileError: a program cannot be read.
        ConfigError: the ledger or the audit log cannot be used.
    """

    def __init__(self, settings: DealerSettings, ended: Callable[[OpenLease], None] = lambda lease: None) -> None:
        torch.set_num_threads(settings.threads)
        self._programs = Programs(settings.programs)
        self._lease_s, self._limits = settings.lease_s, settings.limits
        self.audit = AuditLog(settings.state.dir, "dealer")
        self._ledger = Ledger(settings.state.dir, settings.state.address, audit=self.audit)
        self._ended = ended
        self._lock = threading.RLock()  # a stream that nobody reads any more may end wherever Python frees it
        self._leases: dict[bytes, OpenLease] = {}
        self._streams: Counter[int] = Counter()
        self._weight_masks = WeightMasks(settings.limits.weight_masks)

    def mark(self) -> session_pb2.LedgerMark:
        """Return how far the dealer's ledger has come.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        return self._ledger.mark()

    def load_programs(self, folder: Path) -> list[Program]:
        """Deal for all programs of one more model, and return them, the whole model's first.

        Raises:
            ModelFileError: one cannot be read.
        """
        return self._programs.load(folder)

    def greet(self, party: int, mark: session_pb2.LedgerMark) -> None:
        """Compare the ledger of a ``party`` that wants a lease with what is known of it.

        Raises:
            LedgerRolledBack: it is older than before, or another one.
            LedgerUnavailable: the dealer's ledger cannot be read or written.
        """
        self._ledger.remember(f"party{party}", mark)

    @property
    def most_leases(self) -> int:
        """Leases that one party may hold open."""
        return self._limits.leases

    def held(self) -> dict[int, int]:
        """Return how many leases each party holds open."""
        with self._lock:
            return dict(Counter(party for leased in self._leases.values() for party in leased.taken))

    def lease(self, order: MaterialOrder, party: int) -> LeasePart:
        """Return the caller's part of ``order``; once per order and party.

        A party that takes more leases than it may hold open loses the oldest that it does not read.

        Raises:
            ProgramMismatch: unknown program, or another order under the same id.
            SessionReplayed: this party has its lease, or the id was used before.
            NotAllowed: the party is not one of the session's.
            WeightMaskUnknown: the weights were not opened under a mask that this dealer process remembers.
            Overloaded: the party reads as many leases as it may hold open.
            ConfigError: an unknown objective.
        """
        if party >= order.parties:
            raise NotAllowed(
                f"party {party} of {order.parties}",
                expected="one of the session's parties",
                remedy="Correct 'parties'.",
            )
        program = self._programs.program(order.program_sha256)
        with self._lock:
            self._make_room(party)
            leased = self._leases.get(order.material_id) or self._open(order, program)
            if leased.order != order:
                raise ProgramMismatch(
                    "another program, version, engine or number of parties for the same material",
                    expected="the same at all parties",
                    remedy="Load the same model and use the same engine and objective at all parties.",
                )
            if party in leased.taken:
                raise SessionReplayed(
                    f"a second lease of party {party} for one order",
                    expected="one lease per order and party",
                    remedy="Start a new session.",
                )
            leased.taken.add(party)
            length = leased.dealing.material_bytes(party)
            part = LeasePart(leased.lease_id, bytes(leased.seeds[party]), length, self._plan_sha256(order))
            if not length:  # nothing to stream
                self._has_all(leased, party)
        return part

    def stream(self, material_id: bytes, party: int) -> Iterator[bytes | memoryview]:
        """Yield a party's material, dealt as it is read; once per lease.

        Raises:
            SessionUnknown: no such lease, or it ended.
            SessionReplayed: it was streamed before.
            Overloaded: the party has as many streams as it may have leases.
            DealerLost: the lease ended before the material did.
            DealerTimeout: the other party does not read its part.
        """
        with self._lock:
            leased = self._leases.get(material_id)
            if leased is None or party not in leased.taken:
                raise SessionUnknown(
                    "a stream without a lease of this party", expected="a lease first", remedy="Start a new session."
                )
            if party in leased.reading | leased.done:
                raise SessionReplayed("a second stream for one lease", expected="one", remedy="Start a new session.")
            if self._streams[party] >= self._limits.leases:
                raise self._overloaded(f"{self._streams[party]} streams of party {party}")
            leased.reading.add(party)
            leased.timeline.enter("dealing")
            self._streams[party] += 1
        start = time.perf_counter()
        try:
            for piece in leased.dealing.stream(party):
                leased.moved = time.monotonic()
                yield piece
        except BaseException:  # also a reader who goes away: nobody can stream it again
            with self._lock:
                self._end(leased)
            raise
        finally:
            with self._lock:
                self._streams[party] -= 1
        with self._lock:
            self._has_all(leased, party)
        log.info("material %s for party %d dealt in %.3f s", material_id.hex(), party, time.perf_counter() - start)

    def release(self, material_id: bytes, party: int) -> None:
        """End a lease that ``party`` took and gives up; without effect if it has ended."""
        with self._lock:
            leased = self._leases.get(material_id)
            if leased is not None and party in leased.taken:
                self._end(leased)

    def lease_weight_mask(self, mask_id: bytes, program_sha256: bytes, manifest_sha256: bytes, party: int) -> bytes:
        """Return the seed of the caller's share of a weight mask; once per mask and party.

        Raises:
            ProgramMismatch: unknown program, or another model under the same id.
            SessionReplayed: this party has its seed: a mask serves one set of weights.
            NotAllowed: the caller is not one of two parties.
        """
        self._programs.program(program_sha256)
        return self._weight_masks.lease(mask_id, program_sha256, manifest_sha256, party)

    def close(self) -> None:
        """End all leases and close the ledger."""
        with self._lock:
            for leased in list(self._leases.values()):
                self._end(leased)
        self._ledger.close()
        self.audit.close()

    def _open(self, order: MaterialOrder, program: Program) -> OpenLease:
        """Return a lease of ``order``, burned."""
        seeds = [bytearray(secrets.token_bytes(SEED_BYTES)) for _ in range(order.parties)]
        dealing = self._dealing(order, program, seeds)
        name = order.material_id.hex()
        self._ledger.burn(name, AuditEvent.LEASE_OPENED, material=name)
        failpoint(Failpoint.LEASE_BURNED)
        leased = OpenLease(order, secrets.token_bytes(_LEASE_ID_BYTES), seeds, dealing)
        leased.timeline.enter("leased")
        self._leases[order.material_id] = leased
        self._watch(leased)
        return leased

    def _watch(self, leased: OpenLease) -> None:
        """End the lease once nobody has read from it for ``lease_s``."""
        seconds = max(0.0, leased.moved + self._lease_s - time.monotonic())
        leased.expiry = threading.Timer(seconds, self._expire, args=(leased.order.material_id,))
        leased.expiry.daemon = True
        leased.expiry.start()

    def _dealing(self, order: MaterialOrder, program: Program, seeds: list[bytearray]) -> Dealing:
        if order.engine is EngineName.STOCK:
            return StockDealing(program, seeds)
        if order.parties != 2:
            raise ConfigError(
                f"the fast engine for {order.parties} parties", expected="2 parties", remedy="Set 'engine: stock'."
            )
        plan = self._programs.plan(order.program_sha256, order.objective)
        weights = self._weight_masks.expanded(order.weight_mask_id, order.program_sha256, plan)
        backlog = self._limits.backlog_mib << 20
        return FastDealing(plan, order.material_id, seeds, weights, self._lease_s, backlog)

    def _make_room(self, party: int) -> None:
        """End the oldest lease that ``party`` took and does not read, if it holds as many as it may."""
        held = [leased for leased in self._leases.values() if party in leased.taken]
        if len(held) < self._limits.leases:
            return
        idle = next((leased for leased in held if not leased.reading), None)
        if idle is None:
            raise self._overloaded(f"{len(held)} leases of party {party}")
        self._end(idle)

    def _overloaded(self, got: str) -> Overloaded:
        return Overloaded(
            f"{got} that are open",
            expected=f"at most {self._limits.leases}",
            remedy="Retry later, or raise 'limits' in the dealer's configuration.",
        )

    def _has_all(self, leased: OpenLease, party: int) -> None:
        leased.reading.discard(party)
        leased.done.add(party)
        if leased.complete:
            self._end(leased)

    def _expire(self, material_id: bytes) -> None:
        with self._lock:
            leased = self._leases.get(material_id)
            if leased is None:
                return
            if time.monotonic() < leased.moved + self._lease_s:
                self._watch(leased)
            else:
                self._end(leased)

    def _end(self, leased: OpenLease) -> None:
        """Close the lease, once, and erase its randomness."""
        material_id = leased.order.material_id
        if self._leases.pop(material_id, None) is None:
            return
        leased.erase()
        self._ended(leased)
        name, outcome = material_id.hex(), "done" if leased.complete else "unused"
        try:
            self._ledger.close_session(name, outcome, AuditEvent.LEASE_ENDED, material=name)
        except MpcvitError as error:  # it stays burned; whoever ends a lease has other things to finish
            log.warning("material %s ended, but that could not be recorded: %s", material_id.hex(), error.reason)

    def _plan_sha256(self, order: MaterialOrder) -> bytes:
        if order.engine is EngineName.STOCK:
            return b""
        return self._programs.plan(order.program_sha256, order.objective).digest
