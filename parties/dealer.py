"""The dealer: correlated randomness for sessions that it knows nothing else about."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import torch

from mpcvit.errors import ConfigError, NotAllowed, ProgramMismatch, SessionReplayed, SessionUnknown, WeightMaskUnknown
from mpcvit.program.fast_dealer import deal_plan, weight_masks
from mpcvit.program.files import load_program
from mpcvit.program.objective import objective
from mpcvit.program.plan import Plan, make_plan
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES, Prg
from parties.dealing import Dealing, FastDealing, StockDealing
from parties.ledger import Ledger
from parties.settings import DealerSettings, EngineName

log = logging.getLogger("mpcvit.dealer")
#: Weight masks kept ready, those remembered, and how often one opening may be repeated before something must be wrong.
_KEPT_WEIGHTS = 4
_KNOWN_WEIGHTS = 1024
_MOST_ATTEMPTS = 8


@dataclass(frozen=True)
class Order:
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

    @property
    def canonical(self) -> bytes:
        """All fields as bytes: seeds come from them, so that no two different orders share randomness."""
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(self).items()}
        return json.dumps(fields, sort_keys=True).encode()


@dataclass(frozen=True, repr=False)
class Lease:
    """A party's part of a lease: public id, its seed, the length of its material, the fast engine's plan digest."""

    lease_id: bytes
    seed: bytes
    material_bytes: int
    plan_sha256: bytes


@dataclass(repr=False)
class _Leased:
    """One order's state: which parties have taken their seeds, and which their material."""

    order: Order
    dealing: Dealing
    opened: float
    taken: set[int] = field(default_factory=set)
    streamed: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _WeightMask:
    """A mask of one set of weights, opened by the parties under it."""

    program_sha256: bytes
    manifest_sha256: bytes
    taken: set[int]


class Dealer:
    """Leases and deals. Every order gets fresh seeds under a root key that lives as long as the process.

    Raises:
        ModelFileError: a program cannot be read.
        ConfigError: the ledger cannot be used.
    """

    def __init__(self, settings: DealerSettings) -> None:
        torch.set_num_threads(settings.threads)
        self._programs = {bytes.fromhex(program.digest): program for program in map(load_program, settings.programs)}
        self._lease_s = settings.lease_s
        self._ledger = Ledger(settings.state)
        self._root = secrets.token_bytes(SEED_BYTES)
        self._lock = threading.Lock()
        self._leases: dict[bytes, _Leased] = {}
        self._plans: dict[tuple[bytes, str], Plan] = {}
        self._weight_masks: OrderedDict[bytes, _WeightMask] = OrderedDict()
        self._ready_weights: OrderedDict[bytes, dict[str, torch.Tensor]] = OrderedDict()

    def lease(self, order: Order, party: int) -> Lease:
        """The caller's part of ``order``; once per order and party.

        Raises:
            ProgramMismatch: unknown program, or another order under the same id.
            SessionReplayed: this party has its lease, or the id was used before.
            NotAllowed: the party is not one of the session's.
            WeightMaskUnknown: the weights were not opened under a mask of this dealer process.
            ConfigError: an unknown objective.
        """
        if party >= order.parties:
            raise NotAllowed(
                f"party {party} of {order.parties}",
                expected="one of the session's parties",
                remedy="Correct 'parties'.",
            )
        program = self._program(order.program_sha256)
        with self._lock:
            self._forget_old()
            leased = self._leases.get(order.material_id)
            if leased is None:
                dealing = self._dealing(order, program)
                self._ledger.burn(order.material_id.hex())
                leased = _Leased(order, dealing, time.monotonic())
                self._leases[order.material_id] = leased
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
            plan = self._plan(order, program).digest if order.engine is EngineName.FAST else b""
        return Lease(self._lease_id(order), self._seeds(order)[party], leased.dealing.material_bytes(party), plan)

    def stream(self, material_id: bytes, party: int) -> Iterator[bytes | memoryview]:
        """A party's material, dealt as it is read; once per lease.

        Raises:
            SessionUnknown: no such lease, or it expired.
            SessionReplayed: it was streamed before.
            DealerTimeout: the other party does not read its part.
        """
        with self._lock:
            leased = self._leases.get(material_id)
            if leased is None or party not in leased.taken:
                raise SessionUnknown(
                    "a stream without a lease of this party", expected="a lease first", remedy="Start a new session."
                )
            if party in leased.streamed:
                raise SessionReplayed("a second stream for one lease", expected="one", remedy="Start a new session.")
            leased.streamed.add(party)
        start = time.perf_counter()
        yield from leased.dealing.stream(party)
        with self._lock:
            if leased.streamed == leased.taken and len(leased.taken) == leased.order.parties:
                self._leases.pop(material_id, None)
        self._ledger.close_session(material_id.hex(), "done")
        log.info("material %s for party %d dealt in %.3f s", material_id.hex(), party, time.perf_counter() - start)

    def redeal(
        self, order: Order, lease_id: bytes, party: int, attempts: Mapping[str, int], ambiguous: Collection[str]
    ) -> Iterator[tuple[str, bytes]]:
        """The caller's part of spare masks for ambiguous openings, and of the material that depends on them, by step.

        Raises:
            SessionUnknown: the lease is not one of this dealer process.
            NotAllowed: more attempts than chance explains.
        """
        if not hmac.compare_digest(lease_id, self._lease_id(order)):
            raise SessionUnknown(
                "another dealer's lease", expected="one of this process", remedy="Start a new session."
            )
        if not ambiguous or max(attempts.values(), default=0) > _MOST_ATTEMPTS or set(ambiguous) - set(attempts):
            raise NotAllowed(
                f"up to {max(attempts.values(), default=0)} attempts for one opening",
                expected=f"1 to {_MOST_ATTEMPTS}",
                remedy="Start a new session; report it if it persists.",
            )
        with self._lock:
            plan = self._plan(order, self._program(order.program_sha256))
            weights = self._weights(order, plan)
        openings = {step.name for step in plan.steps if step.protocol.reopen_probability()}
        if set(attempts) - openings:
            raise NotAllowed(
                "spare masks for what is never ambiguous",
                expected="names of truncating openings",
                remedy="Run the same version of mpcvit everywhere.",
            )
        log.warning("session %s repeats %s", order.material_id.hex(), ", ".join(sorted(ambiguous)))
        session, seeds = order.material_id, self._seeds(order)
        for step in deal_plan(plan, session, seeds, weights, attempts, ambiguous):
            yield step.name, step.sent[party]

    def lease_weight_mask(self, mask_id: bytes, program_sha256: bytes, manifest_sha256: bytes, party: int) -> bytes:
        """The seed of the caller's share of a weight mask; once per mask and party.

        Raises:
            ProgramMismatch: unknown program, or another model under the same id.
            SessionReplayed: this party has its seed: a mask serves one set of weights.
        """
        self._program(program_sha256)
        with self._lock:
            mask = self._weight_masks.setdefault(mask_id, _WeightMask(program_sha256, manifest_sha256, set()))
            while len(self._weight_masks) > _KNOWN_WEIGHTS:
                self._weight_masks.popitem(last=False)
            if (mask.program_sha256, mask.manifest_sha256) != (program_sha256, manifest_sha256):
                raise ProgramMismatch(
                    "another model under the same weight mask", expected="one model per mask", remedy="Restart."
                )
            if party in mask.taken:
                raise SessionReplayed(
                    f"a second lease of a weight mask by party {party}",
                    expected="one per mask and party",
                    remedy="Open the weights again under a new mask.",
                )
            mask.taken.add(party)
        return self._weight_seed(mask_id, mask, party)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _program(self, digest: bytes) -> Program:
        program = self._programs.get(digest)
        if program is None:
            raise ProgramMismatch(
                f"program {digest.hex()[:16]}..",
                expected=f"one of {[known.hex()[:16] for known in self._programs]}",
                remedy="Add the model's folder to 'programs' in the dealer's configuration.",
            )
        return program

    def _plan(self, order: Order, program: Program) -> Plan:
        key = (order.program_sha256, order.objective)
        if key not in self._plans:
            self._plans[key] = make_plan(program, objective(order.objective))
        return self._plans[key]

    def _dealing(self, order: Order, program: Program) -> Dealing:
        seeds = self._seeds(order)
        if order.engine is EngineName.STOCK:
            return StockDealing(program, seeds)
        if order.parties != 2:
            raise ConfigError(
                f"the fast engine for {order.parties} parties", expected="2 parties", remedy="Set 'engine: stock'."
            )
        plan = self._plan(order, program)
        return FastDealing(plan, order.material_id, seeds, self._weights(order, plan), self._lease_s)

    def _weights(self, order: Order, plan: Plan) -> dict[str, torch.Tensor]:
        """The masks under which the parties opened the weights."""
        mask = self._weight_masks.get(order.weight_mask_id)
        if mask is None or mask.program_sha256 != order.program_sha256:
            raise WeightMaskUnknown(
                "material for weights that were not opened under a mask of this dealer",
                expected="a mask leased from this process",
                remedy="Open the weights again; parties do so by themselves.",
            )
        if order.weight_mask_id not in self._ready_weights:
            seeds = [self._weight_seed(order.weight_mask_id, mask, party) for party in (0, 1)]
            self._ready_weights[order.weight_mask_id] = weight_masks(plan, (Prg(seeds[0]), Prg(seeds[1])))
            while len(self._ready_weights) > _KEPT_WEIGHTS:
                self._ready_weights.popitem(last=False)
        return self._ready_weights[order.weight_mask_id]

    def _derive(self, purpose: str, identity: bytes) -> bytes:
        return hmac.digest(self._root, purpose.encode() + b"/" + identity, hashlib.sha256)

    def _seeds(self, order: Order) -> list[bytes]:
        return [self._derive(f"party{party}", order.canonical) for party in range(order.parties)]

    def _lease_id(self, order: Order) -> bytes:
        return self._derive("lease", order.canonical)[:16]

    def _weight_seed(self, mask_id: bytes, mask: _WeightMask, party: int) -> bytes:
        """Bound to program and manifest: one mask never serves two sets of weights, even under one id."""
        return self._derive(f"weights{party}", mask_id + mask.program_sha256 + mask.manifest_sha256)

    def _forget_old(self) -> None:
        now = time.monotonic()
        for material_id in [key for key, lease in self._leases.items() if now - lease.opened > self._lease_s]:
            del self._leases[material_id]
