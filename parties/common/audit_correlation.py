"""Audit logs of several roles side by side: do they tell of the same sessions and material."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from parties.common.audit import AuditEvent
from parties.common.audit_chain import AuditLine, Finding, ReadLog

_PARTY = re.compile(r"party\d+")
_LEADER, _DEALER = "party0", "dealer"
_DONE = "done"


@dataclass(frozen=True)
class LogPlace:
    """A line, and the log that it is in."""

    log: ReadLog
    line: AuditLine

    def __str__(self) -> str:
        return f"line {self.line.number} of {self.log.path}"


@dataclass
class LogCorrelation:
    """What logs say together.

    Attributes:
        problems: what cannot be if all logs are whole and all roles were honest.
        notices: what faults explain, such as a process that was killed.
        sessions, material: how many were compared.
    """

    problems: list[Finding] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)
    sessions: int = 0
    material: int = 0


class Correlator:
    """Compares ``logs``; several may be of one role."""

    def __init__(self, logs: Sequence[ReadLog]) -> None:
        self._logs = logs
        self._result = LogCorrelation()
        self._roles = {log.role for log in logs}
        self._parties = sorted(role for role in self._roles if _PARTY.fullmatch(role))

    def compare(self) -> LogCorrelation:
        """Return what was found."""
        self._compare_sessions()
        self._compare_material()
        self._compare_heads()
        self._result.problems.sort(key=lambda found: (found.file, found.line))
        return self._result

    def _compare_sessions(self) -> None:
        opened = {party: self._by("session", AuditEvent.SESSION_OPENED, party) for party in self._parties}
        ended = {party: self._by("session", AuditEvent.SESSION_ENDED, party) for party in self._parties}
        for places in opened.values():
            for session, where in places.items():
                for again in where[1:]:
                    self._problem(again, f"session {session} is opened again, after {where[0]}")
        sessions = {session for places in opened.values() for session in places}
        self._result.sessions = len(sessions) if len(self._parties) > 1 else 0
        for party in self._parties:
            for session, where in ended[party].items():
                if where[0].line.fields.get("outcome") == _DONE:
                    self._compare_done(session, where[0], opened, ended)

    def _compare_done(
        self,
        session: str,
        done: LogPlace,
        opened: dict[str, dict[str, list[LogPlace]]],
        ended: dict[str, dict[str, list[LogPlace]]],
    ) -> None:
        """Look for a session that one party says is done in the logs of the others."""
        for other in self._parties:
            if other == done.log.role:
                continue
            if session not in opened[other]:
                self._problem(done, f"session {session} is done here, and unknown to {other}")
            elif session not in ended[other]:
                self._notice(done, f"session {session} is done here, and has no end at {other}")
            elif (outcome := ended[other][session][0].line.fields.get("outcome")) != _DONE:
                self._notice(done, f"session {session} is done here, and {outcome} at {other}")

    def _compare_material(self) -> None:
        used = {party: self._by("material", AuditEvent.MATERIAL_USED, party) for party in self._parties}
        dealt = self._by("material", AuditEvent.LEASE_OPENED, _DEALER)
        self._result.material = len({material for places in used.values() for material in places})
        for material, where in dealt.items():
            for again in where[1:]:
                self._problem(again, f"material {material} is dealt again, after {where[0]}")
        for party, places in used.items():
            for material, where in places.items():
                for again in where[1:]:
                    self._problem(again, f"material {material} is used again, after {where[0]}")
                if _DEALER in self._roles and material not in dealt:
                    self._problem(where[0], f"material {material} is used here, and unknown to the dealer")
                self._compare_use(material, where[0], {other: used[other] for other in used if other > party})

    def _compare_use(self, material: str, here: LogPlace, others: dict[str, dict[str, list[LogPlace]]]) -> None:
        """See that other parties used the same material for the same session."""
        session = here.line.fields.get("session")
        for other, places in others.items():
            for place in places.get(material, []):
                theirs = place.line.fields.get("session")
                if theirs != session:
                    what = f"material {material} is used for session {session} here, and for {theirs} at {other}"
                    self._problem(here, what)

    def _compare_heads(self) -> None:
        """See that every log is as long as others have seen it, and that the lines are those that they saw."""
        logs: dict[tuple[str, str], ReadLog] = {(log.role, log.log_id): log for log in self._logs}
        for witness in self._all(AuditEvent.WITNESSED):
            of, log_id, number, digest = (witness.line.fields.get(name) for name in ("of", "log_id", "line", "sha256"))
            seen = logs.get((str(of), str(log_id)))
            if seen is None:
                if of in self._roles:
                    self._problem(witness, f"{of} had another log then, {log_id}, which is not among these")
                continue
            line = next((line for line in reversed(seen.lines) if line.sequence + 1 == number), None)
            last = seen.lines[-1].sequence + 1
            if line is None and isinstance(number, int) and number > last:
                what = f"is missing, and what followed it: {witness.log.role} has seen it ({witness})"
                self._result.problems.append(Finding(seen.path, number, what))
            elif line is not None and line.digest != digest:
                what = f"is not what {witness.log.role} has seen ({witness})"
                self._result.problems.append(Finding(seen.path, line.number, what))

    def _by(self, name: str, event: AuditEvent, role: str) -> dict[str, list[LogPlace]]:
        """Return where ``role`` has lines of ``event``, by their field ``name``."""
        found: dict[str, list[LogPlace]] = defaultdict(list)
        for place in self._all(event):
            if place.log.role == role:
                found[str(place.line.fields.get(name))].append(place)
        return dict(found)

    def _all(self, event: AuditEvent) -> Iterator[LogPlace]:
        for log in self._logs:
            yield from (LogPlace(log, line) for line in log.lines if line.event == event)

    def _problem(self, place: LogPlace, what: str) -> None:
        self._result.problems.append(Finding(place.log.path, place.line.number, what))

    def _notice(self, place: LogPlace, what: str) -> None:
        self._result.notices.append(Finding(place.log.path, place.line.number, what))
