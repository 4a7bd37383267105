"""The fast engine at a party: weights opened once, a pool of prepared material, sessions on it (two parties)."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import grpc

from mpcvit.client.result import Stats
from mpcvit.errors import (
    MaterialUnknown,
    ModelMismatch,
    MpcvitError,
    PeerLost,
    ProgramMismatch,
    ProtocolViolation,
    WeightMaskUnknown,
)
from mpcvit.program.fast import FastWeights, PreparedPlan, open_weights, run_fast
from mpcvit.program.objective import objective
from mpcvit.program.plan import Plan, make_plan
from mpcvit.program.shares import ModelShare
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.session.session import BINDING_BYTES, MATERIAL_TAG, SETUP_TAG
from mpcvit.wire import SESSION_ID_BYTES
from mpcvit.wire.codec import chunks, join_chunks
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.v1 import dealer_pb2, peer_pb2, peer_pb2_grpc
from parties.dealer_client import DealerClient, Lease
from parties.engine import Engine, Online, Report, binding
from parties.grpc_link import GrpcLink
from parties.ledger import Ledger
from parties.material_pool import MaterialPool
from parties.session_table import Finished, HeldSession
from parties.settings import EngineName, PartySettings
from parties.stored_material import StoredMaterial

log = logging.getLogger("mpcvit.fast")

Answer = TypeVar("Answer")


@dataclass(frozen=True, repr=False)
class Entry:
    """Material that is ready for one session.

    Attributes:
        seconds: from asking the dealer until everything was prepared.
    """

    lease: Lease
    prepared: PreparedPlan
    seconds: float

    @property
    def material_id(self) -> bytes:
        """16 bytes, the same at both parties."""
        return self.lease.request.material_id


@dataclass(repr=False)
class _Model:
    """One model's state.

    Attributes:
        mask_id: the mask under which the weights are open; None before.
        entries: at party 1, what it prepared and no session has named yet.
    """

    share: ModelShare
    plan: Plan
    lock: threading.Lock = field(default_factory=threading.Lock)
    mask_id: bytes | None = None
    weights: FastWeights | None = None
    entries: dict[bytes, Entry] = field(default_factory=dict)
    pool: MaterialPool[Entry] | None = None


class FastEngine(Engine):
    """Party 0 leads: it opens the weights with party 1, keeps the pool full, and names the material of each session.

    Args:
        peer: stub of the other party.
        ledger: where material is burned before it is used.
    """

    name = EngineName.FAST

    def __init__(
        self,
        settings: PartySettings,
        models: dict[str, ModelShare],
        dealer: DealerClient,
        peer: peer_pb2_grpc.PeerServiceStub,
        ledger: Ledger,
    ) -> None:
        self._settings, self._dealer, self._peer, self._ledger = settings, dealer, peer, ledger
        self._held: dict[bytes, Entry] = {}
        goal = objective(settings.objective)
        self._models = {name: _Model(share, make_plan(share.program, goal)) for name, share in models.items()}
        if settings.index == 0:
            for model in self._models.values():
                make = partial(self._make, model)
                model.pool = MaterialPool(make, settings.pool.sessions, settings.timeouts.pair_s)

    def largest_frame(self, model: str) -> int:
        return max(64, *self._models[model].plan.messages)

    def offline(self, session: HeldSession, link: GrpcLink) -> Online:
        model = self._models[session.spec.model_name]
        for _ in range(2):
            entry = self._named(session, model, link)
            if self._agreed(session, model, entry, link) and entry is not None:
                self._ledger.burn(f"material/{entry.material_id.hex()}")
                return lambda report: self._online(session, model, entry, link, report)
            self._start_over(session, model)
        raise MaterialUnknown(
            "material that the other party does not hold, twice",
            expected="material prepared at both parties",
            remedy="Retry; parties prepare new material by themselves.",
        )

    def release(self, session: HeldSession) -> None:
        model = self._models[session.spec.model_name]
        entry = self._held.pop(session.session_id, None)
        if entry is None:
            return
        self._ledger.close_session(f"material/{entry.material_id.hex()}", "used")
        if model.pool is not None:
            model.pool.finish()

    def _named(self, session: HeldSession, model: _Model, link: GrpcLink) -> Entry | None:
        """The entry that party 0 names; None if party 1 does not have it."""
        if model.pool is None:
            material_id = bytes(link.exchange(MATERIAL_TAG, bytes(SESSION_ID_BYTES))[0])
            entry = model.entries.pop(material_id, None)
            if entry is not None:
                self._held[session.session_id] = entry
            return entry

        def hold(entry: Entry) -> None:
            self._held[session.session_id] = entry

        entry = model.pool.take(hold, self._settings.timeouts.offline_s)
        link.exchange(MATERIAL_TAG, entry.material_id)
        return entry

    def _agreed(self, session: HeldSession, model: _Model, entry: Entry | None, link: GrpcLink) -> bool:
        """Whether both parties hold the material; compares session, plan and lease before anything masked is sent.

        Raises:
            PeerLost: the other party means something else.
        """
        own = bytes(BINDING_BYTES) if entry is None else _binding(session, model, entry)
        other = bytes(link.exchange(SETUP_TAG, own)[1 - link.index])
        if entry is None or other == bytes(BINDING_BYTES):
            return False
        if other != own:
            raise PeerLost(
                "another session, model, plan or dealer lease at the other party",
                expected="the same binding at both parties",
                remedy="Start a new session; if it persists, restart the dealer and both parties.",
            )
        return True

    def _start_over(self, session: HeldSession, model: _Model) -> None:
        """Forget what was prepared with a peer that has restarted since."""
        with model.lock:
            model.mask_id = None
        if model.pool is not None:
            model.pool.clear()
        self.release(session)

    def prepare(self, request: peer_pb2.PrepareMaterialRequest) -> None:
        """Party 1: fetch and prepare material that the leader will use.

        Raises:
            ModelMismatch, ProgramMismatch: the leader holds another model or plan.
            WeightMaskUnknown: the weights were not opened under that mask here.
            DealerError: the material does not come.
        """
        model = self._same_model(request.weights)
        if request.plan_sha256 != model.plan.digest:
            raise ProgramMismatch(
                "another plan for the same program",
                expected="equal versions and objectives at both parties",
                remedy="Set the same 'objective', and run the same version of mpcvit everywhere.",
            )
        with model.lock:
            if model.weights is None or model.mask_id != request.weights.weight_mask_id:
                raise WeightMaskUnknown(
                    "material for weights that are not open here",
                    expected="weights opened with this process",
                    remedy="Open the weights again; the leader does so by itself.",
                )
            weights = model.weights
            for material_id in set(model.entries) - set(request.kept):
                model.entries.pop(material_id, None)  # the leader failed or restarted before it used it
        entry = self._fetch(model, request.material_id, request.weights.weight_mask_id, weights)
        model.entries[request.material_id] = entry

    def answer_weights(self, requests: Iterator[peer_pb2.OpenWeightsRequest]) -> Iterator[bytes]:
        """Party 1: swap masked weights with the leader.

        Raises:
            ProtocolViolation: the stream does not begin by naming the weights.
            ModelMismatch: the leader holds another model.
            InvalidShare, InputTooLarge: not the announced number of bytes.
        """
        header = next(requests, None)
        if header is None or header.WhichOneof("part") != "weights":
            raise ProtocolViolation(
                "masked weights without a header",
                expected="a header first",
                remedy="Run the same version of mpcvit at both parties.",
            )
        model = self._same_model(header.weights)
        answer: list[memoryview] = []

        def exchange(sent: memoryview) -> memoryview:
            answer.append(sent)
            return memoryview(join_chunks((request.chunk for request in requests), len(sent)))

        with model.lock:
            seed = self._weight_seed(model, header.weights.weight_mask_id)
            model.weights = open_weights(model.plan, model.share.weights, Prg(seed), exchange)
            model.mask_id = header.weights.weight_mask_id
            model.entries.clear()
        for sent in answer:
            yield from map(bytes, chunks(sent))

    def close(self) -> None:
        for model in self._models.values():
            if model.pool is not None:
                model.pool.close()

    def _same_model(self, weights: peer_pb2.WeightMask) -> _Model:
        model = self._models.get(weights.model_name)
        if model is None or model.share.manifest.digest != weights.manifest_sha256:
            raise ModelMismatch(
                f"'{weights.model_name}' with another manifest",
                expected="shares of one 'mpcvit model share' run at both parties",
                remedy="Load the same model at both parties.",
            )
        return model

    def _make(self, model: _Model) -> Entry:
        """Party 0: one entry for the pool, prepared at both parties. Opens the weights (again) where needed."""
        try:
            return self._make_once(model)
        except WeightMaskUnknown:
            with model.lock:
                model.mask_id = None
            return self._make_once(model)

    def _make_once(self, model: _Model) -> Entry:
        with model.lock:
            if model.mask_id is None or model.weights is None:
                model.mask_id, model.weights = self._open_weights(model)
            mask_id, weights = model.mask_id, model.weights
        material_id = secrets.token_bytes(SESSION_ID_BYTES)
        pooled = model.pool.entries() if model.pool is not None else []
        request = peer_pb2.PrepareMaterialRequest(
            weights=self._weight_mask(model, mask_id),
            material_id=material_id,
            plan_sha256=model.plan.digest,
            kept=[entry.material_id for entry in [*pooled, *list(self._held.values())]],
        )
        peer = self._peer.PrepareMaterial.future(request, timeout=self._settings.timeouts.offline_s)
        try:
            entry = self._fetch(model, material_id, mask_id, weights)
        except BaseException:
            peer.cancel()
            raise
        self._ask(peer.result)
        return entry

    def _open_weights(self, model: _Model) -> tuple[bytes, FastWeights]:
        mask_id = secrets.token_bytes(SESSION_ID_BYTES)

        def exchange(sent: memoryview) -> memoryview:
            requests = self._weight_requests(model, mask_id, sent)
            call = self._peer.OpenWeights(requests, timeout=self._settings.timeouts.offline_s)
            return memoryview(self._ask(lambda: join_chunks((answer.chunk for answer in call), len(sent))))

        start = time.perf_counter()
        seed = self._weight_seed(model, mask_id)
        weights = open_weights(model.plan, model.share.weights, Prg(seed), exchange)
        log.info("weights of %s opened in %.2f s", model.share.manifest.name, time.perf_counter() - start)
        return mask_id, weights

    def _weight_requests(
        self, model: _Model, mask_id: bytes, sent: memoryview
    ) -> Iterable[peer_pb2.OpenWeightsRequest]:
        yield peer_pb2.OpenWeightsRequest(weights=self._weight_mask(model, mask_id))
        for piece in chunks(sent):
            yield peer_pb2.OpenWeightsRequest(chunk=bytes(piece))

    def _weight_mask(self, model: _Model, mask_id: bytes) -> peer_pb2.WeightMask:
        manifest = model.share.manifest
        return peer_pb2.WeightMask(model_name=manifest.name, manifest_sha256=manifest.digest, weight_mask_id=mask_id)

    def _weight_seed(self, model: _Model, mask_id: bytes) -> bytes:
        request = dealer_pb2.LeaseWeightMaskRequest(
            weight_mask_id=mask_id,
            program_sha256=bytes.fromhex(model.share.manifest.program_sha256),
            manifest_sha256=model.share.manifest.digest,
        )
        return self._dealer.weight_mask_seed(request, self._settings.timeouts.op_s)

    def _fetch(self, model: _Model, material_id: bytes, mask_id: bytes, weights: FastWeights) -> Entry:
        settings, manifest = self._settings, model.share.manifest
        start = time.perf_counter()
        request = dealer_pb2.LeaseMaterialRequest(
            material_id=material_id,
            program_sha256=bytes.fromhex(manifest.program_sha256),
            model_version=manifest.version,
            parties=2,
            engine=self.name,
            objective=settings.objective,
            weight_mask_id=mask_id,
        )
        lease = self._dealer.lease(request, settings.timeouts.op_s)
        if lease.plan_sha256 != model.plan.digest:
            raise ProgramMismatch(
                "another plan at the dealer",
                expected="equal versions of mpcvit at dealer and parties",
                remedy="Run the same version of mpcvit everywhere.",
            )
        material = StoredMaterial(
            self._dealer,
            lease,
            folder=settings.state,
            memory_bytes=settings.pool.memory_mib << 20,
            fetch_s=settings.timeouts.offline_s,
            again_s=settings.timeouts.op_s,
        )
        expansion = settings.pool.expansion_mib << 20
        prepared = PreparedPlan(model.plan, settings.index, material, weights, expansion)
        return Entry(lease, prepared, time.perf_counter() - start)

    def _online(self, session: HeldSession, model: _Model, entry: Entry, link: GrpcLink, report: Report) -> Finished:
        link.patience_s = self._settings.timeouts.op_s
        setup_wait_s = link.trace.total().wait_s
        start = time.perf_counter()
        inputs = {next(iter(model.plan.program.inputs)): session.share}
        result = run_fast(link, entry.prepared, inputs, report)
        online_s = time.perf_counter() - start
        total = link.trace.total()
        stats = Stats(
            offline_s=entry.seconds,
            online_s=online_s,
            peer_wait_s=total.wait_s - setup_wait_s,
            material_wait_s=0.0,
            rounds=total.rounds,
            bytes_sent=total.bytes_sent,
            material_bytes=entry.lease.material_bytes + SEED_BYTES,
        )
        return Finished(result, stats)

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        """``call`` to the peer, its errors typed."""
        try:
            return call()
        except grpc.RpcError as error:
            raise from_rpc_error(error, f"party{1 - self._settings.index}") from error
        except MpcvitError as error:
            error.origin = error.origin or f"party{1 - self._settings.index}"
            raise


def _binding(session: HeldSession, model: _Model, entry: Entry) -> bytes:
    return binding(session.spec, entry.lease.lease_id, model.plan.digest, entry.lease.request.weight_mask_id)
