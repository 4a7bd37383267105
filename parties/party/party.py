"""A compute party: models, connections, engine, and the sessions that it admits and runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from functools import partial

import grpc
import torch

from mpcvit.errors import ConfigError, InputOutOfRange, MpcvitError
from mpcvit.ring.fixed_point import Codes
from mpcvit.store.shared import ModelShare
from mpcvit.watched import Watched
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.role_channel import RoleChannel
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import PROMPT_OPTIONS
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc, session_pb2
from parties.common.audit import AuditLog
from parties.common.callers import Callers
from parties.common.ledger import Ledger
from parties.common.settings import EngineName, PartySettings
from parties.common.tenants import Tenants
from parties.common.tenants_file import TenantsFile
from parties.common.tracing import start_tracing
from parties.common.version import require_version
from parties.party.admission import Admission
from parties.party.crypten import StockEngine
from parties.party.dealers import Dealers
from parties.party.engine import Engine
from parties.party.liveness import Monitor
from parties.party.masked.engine import FastEngine
from parties.party.metrics import PartyMetrics
from parties.party.models import Models
from parties.party.peer_stream import PeerStream
from parties.party.reports import Reports
from parties.party.runner import Runner, stopping
from parties.party.scheduler import Scheduler
from parties.party.sessions import Failed, HeldSession, SessionEnd, SessionState, SessionTable

log = logging.getLogger("mpcvit.party")

#: Seconds within which everything ends once running sessions had their time.
_END_S = 1.0
#: Seconds that an answer of another party may be on its way.
_ANSWER_S = 2.0


class ComputeParty:
    """Everything one party process holds.

    Attributes:
        monitors: signs of life of the other parties, by number.
        dealers: connections to them.
        metrics, reports: what is counted, and where ends of sessions are told.
        audit: what this party did.

    Raises:
        ModelFileError, ProgramMismatch, ShapeMismatch: a model folder is wrong.
        ModelMismatch: a model is shared among another number of parties, or two have one name and version.
        ConfigError: the ledger, the audit log or a TLS file cannot be used.
    """

    def __init__(self, settings: PartySettings) -> None:
        self.settings = settings
        self.sessions = SessionTable()
        self.models = Models(settings)
        torch.set_num_threads(settings.threads)
        self.audit = AuditLog(settings.state.dir, f"party{settings.index}")
        for model in self.models.all():
            self.audit.model_loaded(model.manifest)
        self.ledger = Ledger(settings.state.dir, settings.state.address, audit=self.audit)
        self.own, timeouts = OwnIdentity(settings.tls.files), settings.timeouts
        self._tenants_file = _watch_tenants(settings)
        self.tenants = Tenants(
            None if self._tenants_file is None else self._tenants_file.value, settings.limits.sessions_of_client
        )
        self.callers = Callers(self.own.files.pins, settings.index, self.tenants.tokens)
        self._channels = {
            peer: RoleChannel(address, self.own, f"party{peer}") for peer, address in settings.peers.items()
        }
        peers = {peer: peer_pb2_grpc.PeerServiceStub(channel) for peer, channel in self._channels.items()}
        self._checks = {
            peer: _PeerCheck(address, self.own, f"party{peer}", self.ledger, self.audit)
            for peer, address in settings.peers.items()
        }
        self.monitors = {
            peer: Monitor(
                f"party{peer}",
                self._checks[peer],
                stall_s=timeouts.stall_s,
                start_s=timeouts.pair_s,
                on_loss=partial(self._lost, peer),
            )
            for peer in settings.peers
        }
        role = f"party{settings.index}"
        self.metrics = PartyMetrics(
            role, settings.tls.cert, {model.manifest.name for model in self.models.all()}, self.tenants.label
        )
        self.reports = Reports(self.metrics, start_tracing(settings.otel, role))
        received = self.metrics.bytes.labels("dealer", "received")
        addresses = [settings.dealer, *settings.standby_dealers]
        self.dealers = Dealers(addresses, self.own, timeouts, self.ledger, self.audit, received.inc)
        self.engine: Engine = (
            FastEngine(
                settings,
                self.models.all(),
                self.dealers,
                peers[1 - settings.index],
                self.ledger,
                lambda: self.monitors[1 - settings.index].lost or self.dealers.lost,
                self.metrics.count_burned,
            )
            if settings.engine_name is EngineName.FAST
            else StockEngine(settings, self.models.all(), self.dealers, self.ledger)
        )
        self.runner = Runner(settings, self.sessions, self.engine, peers, self.ledger, self._ended)
        self.admission = Admission(settings, self.models, self.tenants, self.sessions, self.ledger, self.runner.give_up)
        self.scheduler: Scheduler | None = None
        if settings.index == 0:
            self.scheduler = Scheduler(
                settings,
                self.sessions,
                self.admission,
                self.runner,
                self.engine,
                peers,
                self.monitors,
                weight=self.tenants.weight,
                memory=_memory_bytes(settings),
            )
        for model in self.models.all():
            self.metrics.show_model(model.manifest, self.engine.available)
        self.metrics.show_sessions(
            lambda: self.sessions.count(SessionState.HELD, SessionState.READY),
            lambda: self.sessions.count(SessionState.RUNNING),
        )
        self.dealers.start()
        for monitor in self.monitors.values():
            monitor.start()

    @property
    def index(self) -> int:
        """This party's number."""
        return self.settings.index

    def add(self, programs: Sequence[ModelShare]) -> None:
        """Serve one more version of a model, or one more model, with all its Programs, to sessions that name it.

        Raises:
            ModelMismatch: there is one of this name and version.
        """
        for model in programs:
            self.models.require_new(model)
        for model in programs:
            self.engine.add(model)
            self.metrics.show_model(model.manifest, self.engine.available)
            self.models.add(model)
            self.audit.model_loaded(model.manifest)

    def loaded_at(self, peer: int) -> frozenset[bytes]:
        """Return the digests of the manifests that another party had loaded at its last sign of life."""
        return self._checks[peer].loaded

    def submit(self, spec: session_pb2.SessionSpec, model: ModelShare, owner: str, share: Codes) -> None:
        """Hold a session of a checked ``spec``. Party 0 pairs it, and it runs when it is its turn.

        Raises:
            Overloaded: as many sessions run and wait as are allowed, or the client holds as many as it may.
            Draining: this party stops.
            SessionReplayed: the id was used before.
        """
        streams = {
            peer: PeerStream(
                peer,
                stall_s=self.settings.timeouts.stall_s,
                largest_frame=self.engine.largest_frame(model.manifest.key),
                started=partial(self._start, spec.session_id, peer),
                ended=partial(self._stream_ended, spec.session_id),
            )
            for peer in self.settings.peers
        }
        session = HeldSession(spec, owner, model, share, streams)
        session.report("pairing")
        self.admission.hold(session)
        # party 0 first hears from the others, who wait as long, which of them has no share
        patience_s = self.settings.timeouts.pair_s + (_ANSWER_S if self.scheduler is not None else 0)
        self.sessions.after(session, SessionState.HELD, patience_s, partial(self.runner.expire, session))
        if self.scheduler is not None:
            session.dealer = self.dealers.current
            self.scheduler.submit(session)

    def wait_for_turn(self, session: HeldSession) -> None:
        """Let a session that party 0 has opened wait until party 0 starts it."""
        if self.sessions.move(session, SessionState.READY, before=SessionState.HELD):
            session.report("waiting")
            waits_s = self.settings.timeouts.session_s
            self.sessions.after(session, SessionState.READY, waits_s, partial(self.runner.expire, session))

    def drain(self) -> None:
        """Take no more sessions, wait for those here at most ``drain_s``, then end them and close everything."""
        self.admission.drain()
        end = time.monotonic() + self.settings.timeouts.drain_s
        while time.monotonic() < end and (self._unfinished() or self._being_fetched()):
            time.sleep(0.05)
        for session in self.sessions.all():
            if session.state is not SessionState.ENDED:
                self.runner.give_up(session, stopping())
        self.engine.close()
        self.runner.close(_END_S)
        for monitor in self.monitors.values():
            monitor.close()
        self.dealers.close()
        for channel in self._channels.values():
            channel.close()
        self.ledger.close()
        self.reports.close()
        self.audit.close()

    def look_again(self) -> None:
        """Look at certificates and the tenants file with the next call, not when it is time."""
        self.own.look_again()
        if self._tenants_file is not None:
            self._tenants_file.look_again()

    def _unfinished(self) -> bool:
        return bool(self.sessions.count(SessionState.HELD, SessionState.READY, SessionState.RUNNING))

    def _being_fetched(self) -> bool:
        return any(session.followed.locked() for session in self.sessions.all())

    def _start(self, session_id: bytes, peer: int) -> None:
        """Run the session: party 0 says that it is its turn."""
        session = self.sessions.find(session_id)
        if (
            peer == 0
            and session is not None
            and self.sessions.move(session, SessionState.RUNNING, before=SessionState.READY)
        ):
            self.runner.start(session)

    def _stream_ended(self, session_id: bytes, error: MpcvitError) -> None:
        """Give up a session that waits and whose peer has gone. One that runs notices when it wants to read."""
        session = self.sessions.find(session_id)
        if session is not None and session.state in (SessionState.HELD, SessionState.READY):
            self.runner.give_up(session, error)

    def _lost(self, peer: int, error: MpcvitError) -> None:
        self.engine.forget()
        for session in self.sessions.all():
            if peer in session.streams and session.state is not SessionState.ENDED:
                self.runner.give_up(session, error)

    def _ended(self, session: HeldSession, outcome: SessionEnd) -> None:
        if self.scheduler is not None:
            if isinstance(outcome, Failed) and isinstance(outcome.error, InputOutOfRange):
                self._blame(session.owner)
            self.scheduler.ended(session)
        self.reports.ended(session, outcome)

    def _blame(self, client: str) -> None:
        """Note that what a client sent was wrong; what else of it waits takes no material, if that was too often."""
        self.tenants.blame(client)
        if (spoiled := self.tenants.spoiled(client)) is None:
            return
        for session in self.sessions.all():
            if session.owner == client and session.state in (SessionState.HELD, SessionState.READY):
                self.runner.give_up(session, spoiled)


class _PeerCheck:
    """Asks a peer for a sign of life, over a connection of its own: nothing else delays it there.

    Attributes:
        loaded: digests of the manifests that the peer has loaded.
    """

    def __init__(self, address: str, own: OwnIdentity, role: str, ledger: Ledger, audit: AuditLog) -> None:
        self._address, self._files, self._role = address, own.files, role
        self._ledger, self._audit = ledger, audit
        self.loaded: frozenset[bytes] = frozenset()
        options = [*PROMPT_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self._stub = peer_pb2_grpc.PeerServiceStub(RoleChannel(address, own, role, options))

    def __call__(self, timeout_s: float) -> None:
        request = peer_pb2.CheckPeerRequest(protocol_version=PROTOCOL_VERSION, ledger=self._ledger.mark())
        try:
            answer = self._stub.CheckPeer(request, timeout=timeout_s)
        except grpc.RpcError as error:
            known = from_rpc_error(error, self._role)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                known = probe(self._address, self._files, self._role) or known
            raise known from error
        require_version(answer.protocol_version, self._role)
        self._ledger.remember(self._role, answer.ledger)
        self._audit.witness(self._role, answer.audit)
        self.loaded = frozenset(answer.manifest_sha256)


def _watch_tenants(settings: PartySettings) -> Watched[TenantsFile] | None:
    """Return what the tenants file says; None if there is none.

    Raises:
        ConfigError: the file is wrong, or says nothing about the tokens that are to be accepted.
    """
    path = settings.tenants
    if path is None:
        return None
    watched = Watched([path], lambda: TenantsFile.read(path), settings.tls.reload_s)
    if settings.listen.token is not None and watched.value().tokens is None:
        raise ConfigError(
            f"'listen.token' and no 'tokens' in {path}",
            expected="both, or neither",
            remedy="Say in the tenants file whose tokens are accepted, or delete 'listen.token'.",
        )
    return watched


def _memory_bytes(settings: PartySettings) -> int:
    """Return what running sessions may take: as configured, else half of this machine's memory."""
    if settings.limits.memory_mib is not None:
        return settings.limits.memory_mib << 20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
