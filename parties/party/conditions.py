"""What a compute party needs to do work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parties.common.conditions import certificate, disk, memory
from parties.common.readiness import Condition
from parties.party.engine import Engine
from parties.party.liveness import Monitor
from parties.party.party import ComputeParty
from parties.party.sessions import SessionState


def conditions(party: ComputeParty) -> dict[str, Condition]:
    """Return the conditions of ``party``'s readiness by their names."""
    settings, sessions = party.settings, party.sessions
    return {
        **{monitor.role: _there(partial(party.monitors.__getitem__, peer)) for peer, monitor in party.monitors.items()},
        "dealer": _there(lambda: party.dealers.monitor),
        "material": _material(party.engine, party.models.keys),
        "disk": disk(settings.state.dir),
        "memory": memory(
            max(map(party.engine.memory, party.models.keys())),
            lambda: not sessions.count(SessionState.READY, SessionState.RUNNING),
        ),
        "certificate": certificate(settings.tls.cert),
    }


def _there(monitor: Callable[[], Monitor]) -> Condition:
    """Need another role's signs of life."""

    def why() -> str | None:
        if (lost := monitor().lost) is not None:
            return f"{lost.reason}: {lost.got}"
        return None if monitor().present else "has not answered yet"

    return why


def _material(engine: Engine, models: Callable[[], list[str]]) -> Condition:
    """Need material, or the means to make it, for every model."""

    def why() -> str | None:
        found = [f"{model}: {lack}" for model in models() if (lack := engine.lacking(model)) is not None]
        return ", ".join(found) or None

    return why
