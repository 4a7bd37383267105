"""CrypTen's own protocols: material is leased when the session starts and streams in while it runs."""

from __future__ import annotations

import secrets
import time

from mpcvit.client.result import Stats
from mpcvit.program.cost import largest_message
from mpcvit.program.dealer import plan
from mpcvit.program.shares import ModelShare
from mpcvit.program.stock import run_stock
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.session.provider import Provider
from mpcvit.session.session import Session
from mpcvit.wire.v1 import dealer_pb2
from parties.dealer_client import DealerClient, Lease, StreamedMaterial
from parties.engine import Engine, Online, Report, binding
from parties.grpc_link import GrpcLink
from parties.session_table import Finished, HeldSession
from parties.settings import EngineName, PartySettings


class StockEngine(Engine):
    """Any number of parties. The session's id is the material's."""

    name = EngineName.STOCK

    def __init__(self, settings: PartySettings, models: dict[str, ModelShare], dealer: DealerClient) -> None:
        self._settings, self._dealer = settings, dealer
        self._largest = {name: largest_message(model.program, settings.parties) for name, model in models.items()}

    def largest_frame(self, model: str) -> int:
        return self._largest[model]

    def release(self, session: HeldSession) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing runs."""

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
        lease = self._dealer.lease(request, timeouts.op_s)
        prefetch = self._settings.limits.prefetch_mib << 20
        material = self._dealer.stream(lease, prefetch_bytes=prefetch, op_s=timeouts.op_s)
        try:
            material.wait_ready(timeouts.offline_s)
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
        report: Report,
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
        return Finished(result, stats)
