"""How a compute party is, for its operator."""

from __future__ import annotations

from collections import Counter, defaultdict

from mpcvit.store.shared import ModelShare
from mpcvit.wire.v1 import admin_pb2
from parties.common.process_status import ProcessStatus
from parties.party.liveness import Monitor
from parties.party.party import ComputeParty
from parties.party.sessions import SessionState

_COUNTED = {
    SessionState.HELD: "held",
    SessionState.READY: "waiting",
    SessionState.RUNNING: "running",
    SessionState.ENDED: "ended",
}


class PartyStatus:
    """Reads a party; changes nothing but to let it drain."""

    def __init__(self, party: ComputeParty, process: ProcessStatus) -> None:
        self._party, self._process = party, process

    def report(self) -> admin_pb2.GetStatusResponse:
        """Return what the party does and holds.

        Raises:
            ConfigError, LedgerUnavailable: certificate or ledger cannot be read.
        """
        status = self._process.report()
        status.clients.extend(_clients(self._party))
        status.models.extend(model_status(self._party, model) for model in self._party.models.all())
        status.roles.extend(map(_role, (*self._party.monitors.values(), *self._party.dealers.monitors)))
        return status

    def drain(self) -> admin_pb2.DrainResponse:
        """Begin to stop, and return what may still end."""
        unfinished = self._party.sessions.count(SessionState.HELD, SessionState.READY, SessionState.RUNNING)
        self._process.stop()
        return admin_pb2.DrainResponse(sessions=unfinished, drain_s=self._party.settings.timeouts.drain_s)


def _clients(party: ComputeParty) -> list[admin_pb2.ClientSessions]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for session in party.sessions.all():
        counts[session.owner][_COUNTED[session.state]] += 1
    return [admin_pb2.ClientSessions(client=client, **count) for client, count in sorted(counts.items())]


def model_status(party: ComputeParty, model: ModelShare) -> admin_pb2.ModelStatus:
    """Return how one Program of one version of a model is at a party."""
    return admin_pb2.ModelStatus(
        name=model.manifest.name,
        version=model.manifest.version,
        manifest_sha256=model.manifest.digest,
        active=party.models.is_active(model),
        pool_ready=party.engine.available(model.manifest.key),
        pool_size=party.settings.pool.sessions,
        session_bytes=party.engine.memory(model.manifest.key),
        budget=model.manifest.budget,
    )


def _role(monitor: Monitor) -> admin_pb2.RoleStatus:
    return admin_pb2.RoleStatus(
        role=monitor.role, present=monitor.present, silence_s=monitor.silence_s, error=str(monitor.lost or "")
    )
