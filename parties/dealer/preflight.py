"""What a dealer looks at before it serves. It calls nobody: parties call it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mpcvit.finding import SetupFinding
from mpcvit.store.budgets import load_programs
from parties.common import preflight
from parties.common.settings import DealerSettings


def findings(settings: DealerSettings) -> Iterator[SetupFinding]:
    """Yield what a dealer's machine and files are like."""
    yield SetupFinding.of("certificate", partial(preflight.certificate, "dealer", settings.tls.files))
    for key, address in settings.listen:
        if address is not None:
            yield SetupFinding.of(f"listen.{key}", partial(preflight.port, address))
    yield SetupFinding.of("programs", partial(_programs, settings))
    yield SetupFinding.of("state", partial(preflight.state, settings.state, 0))
    parties = 2  # a lease is dealt for all of them, and each may read at its own pace
    backlog = settings.limits.leases * parties * (settings.limits.backlog_mib << 20)
    yield SetupFinding.of("memory", partial(preflight.memory, backlog))


def _programs(settings: DealerSettings) -> str:
    programs = [(folder, program) for folder in settings.programs for program in load_programs(folder).values()]
    return ", ".join(f"{folder.name} ({program.digest[:12]}..)" for folder, program in programs)
