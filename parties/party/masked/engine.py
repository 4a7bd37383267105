"""The fast engine at a party: sessions of two parties, on material that was prepared before they came."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from mpcvit.engines.masked.common_seed import common_seed
from mpcvit.engines.masked.executor import run_fast
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.wires import AmbiguousOpening
from mpcvit.engines.setup_round import BINDING_BYTES, SETUP_TAG
from mpcvit.engines.step_report import StepReport
from mpcvit.errors import AttemptsExhausted, MaterialUnknown, MpcvitError, PeerLost
from mpcvit.ring.prg import SEED_BYTES
from mpcvit.store.shared import ModelShare
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.stats import Stats
from mpcvit.wire.v1 import peer_pb2_grpc
from parties.common.audit import AuditEvent
from parties.common.failpoints import Failpoint, failpoint
from parties.common.ledger import Ledger
from parties.common.settings import EngineName, PartySettings
from parties.party.dealers import Dealers
from parties.party.engine import Engine, Online, binding
from parties.party.grpc_link import GrpcLink
from parties.party.masked.fetching import MaterialFetcher
from parties.party.masked.follower import Follower
from parties.party.masked.leader import Leader
from parties.party.masked.model import MaskedModel, PreparedMaterial
from parties.party.sessions import Finished, HeldSession

log = logging.getLogger("mpcvit.fast")

#: Openings are ambiguous by chance, in a few of a thousand inferences; after so many attempts something is wrong.
MOST_ATTEMPTS = 8
#: A running session holds about so many tensors of the size of its largest message.
_LIVE_MESSAGES = 16


@dataclass(frozen=True, repr=False)
class _Ready:
    """What one attempt at a session runs on: burned material, and the seed that only the two parties know."""

    material: PreparedMaterial
    common: bytes


class FastEngine(Engine):
    """Sessions on prepared material, again on other material after an ambiguous opening.

    Args:
        peer: stub of the other party.
        ledger: where material is burned before it is used.
        missing: why no material can be made now: the other party or the dealer is lost.
        burned: told whenever material can never be used again, and why.

    Attributes:
        role: leader at party 0, follower at party 1.
    """

    name = EngineName.FAST

    def __init__(
        self,
        settings: PartySettings,
        models: Iterable[ModelShare],
        dealers: Dealers,
        peer: peer_pb2_grpc.PeerServiceStub,
        ledger: Ledger,
        missing: Callable[[], MpcvitError | None],
        burned: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._timeouts, self._ledger, self._burned = settings.timeouts, ledger, burned
        self._party = settings.index
        self._held: dict[bytes, PreparedMaterial] = {}
        self._goal = objective(settings.objective)
        self._models = {share.manifest.key: self._masked(share) for share in models}
        fetcher = MaterialFetcher(settings, dealers)
        self.role: Leader | Follower = (
            Leader(settings, fetcher, dealers, peer, self._models, self._held, missing)
            if settings.index == 0
            else Follower(settings, fetcher, self._models)
        )

    def add(self, model: ModelShare) -> None:
        masked = self._models[model.manifest.key] = self._masked(model)
        self.role.add(masked)

    def _masked(self, share: ModelShare) -> MaskedModel:
        return MaskedModel(share, make_plan(share.program, self._goal))

    def largest_frame(self, model: str) -> int:
        return max(BINDING_BYTES + SEED_BYTES, *self._models[model].plan.messages)

    def memory(self, model: str) -> int:
        return fast_session_bytes(self._models[model].plan, self._party)

    def available(self, model: str) -> int:
        return self.role.available(self._models[model])

    def lacking(self, model: str) -> str | None:
        return self.role.lacking(self._models[model])

    def forget(self) -> None:
        for model in self._models.values():
            self.role.forget(model)

    def expect(self, waiting: Mapping[str, int]) -> None:
        for key, model in list(self._models.items()):
            self.role.expect(model, waiting.get(key, 0))

    def offline(self, session: HeldSession, link: GrpcLink) -> Online:
        model = self._models[session.model.manifest.key]
        return partial(self._online, session, model, self._ready(session, model, link), link)

    def release(self, session: HeldSession) -> None:
        self._let_go(session, "used")

    def _let_go(self, session: HeldSession, reason: str) -> None:
        """Drop the material that a session holds, which is burned."""
        material = self._held.pop(session.session_id, None)
        if material is None:
            return
        self._ledger.close_session(f"material/{material.material_id.hex()}", "used")
        self.role.finish(self._models[session.model.manifest.key])
        self._burned(reason)

    def close(self) -> None:
        self.role.close()

    def _ready(self, session: HeldSession, model: MaskedModel, link: GrpcLink) -> _Ready:
        """Return material that both parties hold, burned; and a common seed. Two rounds.

        Raises:
            DealerError, PeerError: the material does not come.
            MaterialUnknown: a peer keeps restarting.
        """
        link.patience_s = self._timeouts.offline_s

        def hold(material: PreparedMaterial) -> None:
            self._held[session.session_id] = material

        for _ in range(2):
            material = self.role.agree(model, link, hold, session.require_wanted)
            common = _agreed(session, model, material, link)
            if material is not None and common is not None:
                used = {"material": material.material_id.hex(), "session": session.session_id.hex()}
                self._ledger.burn(f"material/{material.material_id.hex()}", AuditEvent.MATERIAL_USED, **used)
                failpoint(Failpoint.MATERIAL_BURNED)
                return _Ready(material, common)
            self._start_over(session, model)
        raise MaterialUnknown(
            "material that the other party does not hold, twice",
            expected="material prepared at both parties",
            remedy="Retry; parties prepare new material by themselves.",
        )

    def _start_over(self, session: HeldSession, model: MaskedModel) -> None:
        """Forget what was prepared with a peer that has restarted since."""
        with model.lock:
            model.opened = None
        self.role.forget(model)
        self._let_go(session, "unknown_to_peer")

    def _online(
        self, session: HeldSession, model: MaskedModel, ready: _Ready, link: GrpcLink, report: StepReport
    ) -> Finished:
        """Run the session, and again on other material after an ambiguous opening, which both parties see.

        Raises:
            AttemptsExhausted: ambiguous too often.
        """
        offline_s = online_s = peer_wait_s = 0.0
        material_bytes = 0
        for attempt in range(1, MOST_ATTEMPTS + 1):
            offline_s += ready.material.seconds
            material_bytes += ready.material.lease.material_bytes + SEED_BYTES
            waited_s, start = link.trace.total().wait_s, time.perf_counter()
            result = self._attempt(session, model, ready, link, report)
            online_s += time.perf_counter() - start
            peer_wait_s += link.trace.total().wait_s - waited_s
            if result is not None:
                total = link.trace.total()
                stats = Stats(
                    offline_s=offline_s,
                    online_s=online_s,
                    peer_wait_s=peer_wait_s,
                    material_wait_s=0.0,
                    rounds=total.rounds,
                    bytes_sent=total.bytes_sent,
                    material_bytes=material_bytes,
                )
                return Finished(result, stats)
            log.info("session %s starts again on other material", session.session_id.hex())
            self._let_go(session, "ambiguous_opening")
            if attempt < MOST_ATTEMPTS:
                ready = self._ready(session, model, link)
        raise AttemptsExhausted(
            f"ambiguous openings in {MOST_ATTEMPTS} attempts",
            expected="one in a few hundred inferences",
            remedy="Export the model with tighter ranges; 'mpcvit cost' prints the chance of another attempt.",
        )

    def _attempt(
        self, session: HeldSession, model: MaskedModel, ready: _Ready, link: GrpcLink, report: StepReport
    ) -> ResultShare | None:
        """Return this party's share of the result; None if an opening was ambiguous."""
        link.patience_s = self._timeouts.op_s
        inputs = {next(iter(model.plan.program.inputs)): session.share}
        try:
            return run_fast(link, ready.material.prepared, inputs, ready.common, report)
        except AmbiguousOpening:
            return None


def fast_session_bytes(plan: Plan, party: int) -> int:
    """Return the bytes that a running session takes, about."""
    return 2 * material_bytes(plan, party) + _LIVE_MESSAGES * max(plan.messages)


def material_bytes(plan: Plan, party: int) -> int:
    """Return the length of a party's material of one session."""
    return sum(step.protocol.material()[party] for step in plan.steps)


def _agreed(
    session: HeldSession, model: MaskedModel, material: PreparedMaterial | None, link: GrpcLink
) -> bytes | None:
    """Return the common seed if both parties hold the material, else None.

    Compares session, plan and lease before anything masked is sent.

    Raises:
        PeerLost: the other party means something else.
    """
    own = bytes(BINDING_BYTES) if material is None else _binding(session, model, material)
    first, second = map(bytes, link.exchange(SETUP_TAG, own + secrets.token_bytes(SEED_BYTES)))
    other = (second if link.index == 0 else first)[:BINDING_BYTES]
    if material is None or other == bytes(BINDING_BYTES):
        return None
    if other != own:
        raise PeerLost(
            "another session, model, plan or dealer lease at the other party",
            expected="the same binding at both parties",
            remedy="Start a new session; if it persists, restart the dealer and both parties.",
        )
    return common_seed(own, (first[BINDING_BYTES:], second[BINDING_BYTES:]))


def _binding(session: HeldSession, model: MaskedModel, material: PreparedMaterial) -> bytes:
    return binding(session.spec, material.lease.lease_id, model.plan.digest, material.lease.request.weight_mask_id)
