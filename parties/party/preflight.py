"""What a compute party looks at before it serves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.finding import SetupFinding
from mpcvit.store.shared import ModelShare
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.role_channel import RoleChannel
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc, session_pb2
from parties.common import preflight
from parties.common.settings import EngineName, PartySettings
from parties.common.tenants_file import TenantsFile
from parties.party.crypten import stock_session_bytes
from parties.party.masked.engine import fast_session_bytes, material_bytes
from parties.party.models import Models


def findings(settings: PartySettings) -> Iterator[SetupFinding]:
    """Yield what a party's machine, files and neighbours are like. Without a certificate nobody can be called."""
    role, files = f"party{settings.index}", settings.tls.files
    own = SetupFinding.of("certificate", partial(preflight.certificate, role, files))
    yield own
    for key, address in settings.listen:
        if address is not None:
            yield SetupFinding.of(f"listen.{key}", partial(preflight.port, address))
    needs = _Needs(settings)
    yield SetupFinding.of("models", needs.load)
    state = SetupFinding.of("state", lambda: preflight.state(settings.state, needs.disk))
    yield state
    if needs.models:
        yield SetupFinding.of("memory", lambda: preflight.memory(needs.memory))
    if settings.tenants is not None:
        yield SetupFinding.of("tenants", partial(_tenants, settings.tenants))
    if own.error is None:
        yield from _others(settings, files, None if state.error else preflight.ledger_mark(settings.state))


def _others(settings: PartySettings, files: TlsFiles, mark: session_pb2.LedgerMark | None) -> Iterator[SetupFinding]:
    """Yield what peers and dealer are like. Without our ledger's mark, peers are not called: they would miss it."""
    for peer, address in settings.peers.items():
        role = f"party{peer}"
        ask = None if mark is None else partial(_peer, address, files, role, mark)
        yield SetupFinding.of(role, partial(preflight.other_role, role, address, files, ask))
    for number, address in enumerate([settings.dealer, *settings.standby_dealers]):
        ask_dealer = partial(_dealer, address, files)
        name = f"dealer{number or ''}"
        yield SetupFinding.of(name, partial(preflight.other_role, "dealer", address, files, ask_dealer))


def _tenants(path: Path) -> str:
    tenants = TenantsFile.read(path)
    others = "others refused" if tenants.default is None else "a policy for others"
    return f"{len(tenants.clients)} clients, {others}, {'tokens' if tenants.tokens else 'no tokens'}"


def _peer(address: str, files: TlsFiles, role: str, mark: session_pb2.LedgerMark) -> preflight.CheckAnswer:
    request = peer_pb2.CheckPeerRequest(protocol_version=PROTOCOL_VERSION, ledger=mark)
    with RoleChannel(address, OwnIdentity(files), role) as channel:
        answer: preflight.CheckAnswer = peer_pb2_grpc.PeerServiceStub(channel).CheckPeer(
            request, timeout=preflight.CALL_S
        )
    return answer


def _dealer(address: str, files: TlsFiles) -> preflight.CheckAnswer:
    request = dealer_pb2.CheckDealerRequest(protocol_version=PROTOCOL_VERSION)
    with RoleChannel(address, OwnIdentity(files), "dealer") as channel:
        stub = dealer_pb2_grpc.DealerServiceStub(channel)
        answer: preflight.CheckAnswer = stub.CheckDealer(request, timeout=preflight.CALL_S)
    return answer


class _Needs:
    """What the models of a configuration need; nothing before they are loaded.

    Attributes:
        models: the shares.
        memory: bytes, about.
        disk: bytes of prepared material that does not stay in memory.
    """

    def __init__(self, settings: PartySettings) -> None:
        self._settings = settings
        self.models: list[ModelShare] = []
        self.memory = self.disk = 0

    def load(self) -> str:
        """Load the share folders, and compute what they need."""
        self.models = Models(self._settings).all()
        weights = sum(codes.nbytes for model in self.models for codes in model.weights.values())
        if self._settings.engine_name is EngineName.FAST:
            goal = objective(self._settings.objective)
            self._add_fast([make_plan(model.program, goal) for model in self.models])
        else:
            self.memory = self._settings.limits.sessions * max(
                stock_session_bytes(self._settings, model.program) for model in self.models
            )
        self.memory += 2 * weights  # as shares, and opened under a mask
        return ", ".join(f"{model.manifest.name} {model.manifest.version}" for model in self.models)

    def _add_fast(self, plans: list[Plan]) -> None:
        """Count sessions that run, and what waits prepared."""
        party, pool, sessions = self._settings.index, self._settings.pool, self._settings.limits.sessions
        kept = pool.memory_mib << 20
        self.memory = sessions * max(fast_session_bytes(plan, party) for plan in plans)
        for plan in plans:
            material = material_bytes(plan, party)
            self.memory += pool.sessions * min(material, kept)
            self.disk += (pool.sessions + sessions) * max(0, material - kept)
