"""CrypTen's own protocols: material is leased when the session starts and streams in while it runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping

from mpcvit.engines.crypten.cost import largest_message
from mpcvit.engines.crypten.dealer import plan
from mpcvit.engines.crypten.executor import run_stock
from mpcvit.engines.crypten.provider import Provider
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.step_report import StepReport
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.store.shared import ModelShare
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.stats import Stats
from mpcvit.wire.v1 import dealer_pb2
from parties.common.audit import AuditEvent
from parties.common.ledger import Ledger
from parties.common.settings import EngineName, PartySettings
from parties.party.dealer_client import Lease, StreamedMaterial
from parties.party.dealers import Dealers
from parties.party.engine import Engine, Online, binding
from parties.party.grpc_link import GrpcLink
from parties.party.sessions import Finished, HeldSession

#: A running session holds about so many tensors of the size of its largest message.
_LIVE_MESSAGES = 16


def stock_session_bytes(settings: PartySettings, program: Program) -> int:
    """Return the bytes that a running session takes, about."""
    return (settings.limits.prefetch_mib << 20) + _LIVE_MESSAGES * largest_message(program, settings.parties)


class StockEngine(Engine):
    """Any number of parties. The session's id is the material's."""

    name = EngineName.STOCK

    def __init__(self, settings: PartySettings, models: Iterable[ModelShare], dealers: Dealers, ledger: Ledger) -> None:
        self._settings, self._dealers, self._ledger = settings, dealers, ledger
        self._memory: dict[str, int] = {}
        self._largest: dict[str, int] = {}
        for model in models:
            self.add(model)

    def add(self, model: ModelShare) -> None:
        self._memory[model.manifest.key] = stock_session_bytes(self._settings, model.program)
        self._largest[model.manifest.key] = largest_message(model.program, self._settings.parties)

    def largest_frame(self, model: str) -> int:
        return self._largest[model]

    def memory(self, model: str) -> int:
        return self._memory[model]

    def available(self, model: str) -> int:
        """Return 0: material is made when a session starts."""
        return 0

    def lacking(self, model: str) -> str | None:
        """Return None: material is made when a session starts."""
        return None

    def forget(self) -> None:
        """Do nothing: nothing is prepared."""

    def expect(self, waiting: Mapping[str, int]) -> None:
        """Do nothing: material is made when a session starts."""

    def release(self, session: HeldSession) -> None:
        """Record that the session's material is used up; nothing else is held."""
        if self._ledger.used(_material(session)):
            self._ledger.close_session(_material(session), "used")

    def close(self) -> None:
        """Do nothing: nothing runs."""

    def offline(self, session: HeldSession, link: GrpcLink) -> Online:
        timeouts = self._settings.timeouts
        start = time.perf_counter()
        request = dealer_pb2.LeaseMaterialRequest(
            material_id=session.session_id,
            program_sha256=session.spec.program_sha256,
            model_version=session.spec.model_version,
            parties=self._settings.parties,
            engine=self.name,
        )
        name = session.session_id.hex()
        self._ledger.burn(_material(session), AuditEvent.MATERIAL_USED, material=name, session=name)
        dealer = self._dealers[session.dealer]
        lease = dealer.lease(request)
        prefetch = self._settings.limits.prefetch_mib << 20
        material = dealer.stream(lease, prefetch_bytes=prefetch, op_s=timeouts.op_s)
        try:
            material.wait_ready(timeouts.offline_s, session.require_wanted)
        except BaseException:
            material.close()
            raise
        offline_s = time.perf_counter() - start
        return lambda report: self._online(session, lease, material, offline_s, link, report)

    def _online(
        self,
        session: HeldSession,
        lease: Lease,
        material: StreamedMaterial,
        offline_s: float,
        link: GrpcLink,
        report: StepReport,
    ) -> Finished:
        parties, program = self._settings.parties, session.model.program
        provider = Provider(plan(program, parties), material, last=self._settings.index == parties - 1)
        prg = Prg(secrets.token_bytes(SEED_BYTES))
        try:
            with Session(link, prg, provider, binding=binding(session.spec, lease.lease_id)) as running:
                link.patience_s = self._settings.timeouts.op_s
                setup_wait_s = running.trace.total().wait_s
                start = time.perf_counter()
                inputs = {next(iter(program.inputs)): session.share}
                result = run_stock(running, program, session.model.weights, inputs, report)
                online_s = time.perf_counter() - start
        finally:
            material.close()
        total = link.trace.total()
        stats = Stats(
            offline_s=offline_s,
            online_s=online_s,
            peer_wait_s=total.wait_s - setup_wait_s,
            material_wait_s=material.wait_s,
            rounds=total.rounds,
            bytes_sent=total.bytes_sent,
            material_bytes=material.received + SEED_BYTES,
        )
        return Finished(ResultShare(result), stats)


def _material(session: HeldSession) -> str:
    """Return the name of the session's material in the ledger."""
    return f"material/{session.session_id.hex()}"
