"""What a compute party counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from prometheus_client import Histogram

from mpcvit.wire.manifest import Manifest
from parties.common.metrics import Metrics
from parties.common.session_record import OK, SessionRecord

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
#: Stands for models that this party does not serve: whoever calls must not make up labels.
_OTHER = "other"


class PartyMetrics(Metrics):
    """Counters and gauges of one party.

    Args:
        models: names of what it serves.
        label: what a client is called; one of few names, whoever calls.
    """

    def __init__(self, role: str, certificate: Path, models: Collection[str], label: Callable[[str], str]) -> None:
        super().__init__(role, certificate)
        self._models, self._label = set(models), label
        self._sessions = self.counter("mpcvit_sessions", "Sessions that ended.", "role", "model", "code")
        self._of_clients = self.counter("mpcvit_client_sessions", "Sessions that ended, by client.", "client", "code")
        self._material = self.gauge("mpcvit_material_available", "Sessions' material that waits ready.", "model")
        self._rounds = self.counter("mpcvit_rounds", "Exchanges with peers in sessions that were answered.")
        self._seconds = Histogram(
            "mpcvit_session_seconds",
            "Seconds from the share's arrival to the result, of sessions that were answered.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._phase_seconds = Histogram(
            "mpcvit_phase_seconds",
            "Seconds that sessions spent in a phase.",
            ["phase"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def count(self, record: SessionRecord) -> None:
        """Count an ended session."""
        self.count_end(record.client, record.model, record.code)
        for phase in record.phases:
            self._phase_seconds.labels(phase.name).observe(phase.seconds)
        for direction, by_peer in (("sent", record.bytes_sent), ("received", record.bytes_received)):
            for peer, count in by_peer.items():
                self.bytes.labels(f"party{peer}", direction).inc(count)
        self._rounds.inc(record.rounds)
        if record.code == OK:
            self._seconds.labels(record.model).observe(record.seconds)

    def count_end(self, client: str, model: str, code: str) -> None:
        """Count a session, also one that was refused before it was held.

        Args:
            code: ``OK`` or the reason of an error.
        """
        known = model if model in self._models else _OTHER
        self._sessions.labels(self.role, known, code).inc()
        self._of_clients.labels(self._label(client), code).inc()

    def show_sessions(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        """Show how many sessions wait and run now."""
        self.gauge("mpcvit_sessions_waiting", "Sessions that wait for other shares or their turn.").set_function(
            waiting
        )
        self.gauge("mpcvit_sessions_running", "Sessions that run.").set_function(running)

    def show_model(self, manifest: Manifest, available: Callable[[str], int]) -> None:
        """Count sessions of a model by its name, and show how much material of this version waits ready."""
        self._models.add(manifest.name)
        self._material.labels(manifest.key).set_function(partial(available, manifest.key))
