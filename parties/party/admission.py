"""Admission: which sessions a party takes, and how many at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from mpcvit.errors import (
    Draining,
    ModelMismatch,
    MpcvitError,
    Overloaded,
    ProgramMismatch,
    SessionError,
    SessionExpired,
    SessionReplayed,
    ShapeMismatch,
)
from mpcvit.store.shared import ModelShare
from mpcvit.wire import SESSION_ID_BYTES
from mpcvit.wire.budget import FULL
from mpcvit.wire.client_versions import manifest_digest_for, require_client_version
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.v1 import session_pb2
from parties.common.ledger import Ledger
from parties.common.settings import HELD_PER_READY, PartySettings
from parties.common.tenants import Tenants
from parties.party.models import Models
from parties.party.sessions import HeldSession, SessionState, SessionTable


class Admission:
    """The door of a party.

    Party 0 decides how many sessions are ready and run; the others hold what it may still ask for.

    Args:
        models: what is served.
        tenants: what each client may do.
        sessions: gets what is admitted.
        ledger: tells which session ids were burned.
        give_up: ends a held session.
    """

    def __init__(
        self,
        settings: PartySettings,
        models: Models,
        tenants: Tenants,
        sessions: SessionTable,
        ledger: Ledger,
        give_up: Callable[[HeldSession, MpcvitError], None],
    ) -> None:
        self._limits, self._leads = settings.limits, settings.index == 0
        self._models, self._sessions, self._ledger, self._give_up = models, sessions, ledger, give_up
        self._tenants = tenants
        self._lock = threading.Lock()
        self._draining = False

    @property
    def most_held(self) -> int:
        """Sessions that may be held and not be ready."""
        return HELD_PER_READY * self._limits.ready

    def drain(self) -> None:
        """Take no more sessions."""
        self._draining = True

    def check(self, spec: session_pb2.SessionSpec) -> ModelShare:
        """Return the model that ``spec`` asks for.

        Raises:
            VersionSkew, ModelMismatch, BudgetUnknown, ProgramMismatch, ShapeMismatch, SessionExpired, SessionError: it
                cannot be run.
        """
        _check_form(spec)
        model = self._models.get(spec.model_name, spec.model_version, spec.budget or FULL)
        _check_same(spec, model.manifest)
        if spec.expires_at < time.time():
            raise SessionExpired(
                "a session past its expiry", expected="one that is still wanted", remedy="Check the clocks."
            )
        return model

    def check_client(self, owner: str, model: ModelShare) -> None:
        """See whether ``owner`` may have one more session of ``model``, before its share is read.

        Party 0 alone counts rates: two parties could disagree on the moment of a session.

        Raises:
            NotAllowed: the client may not use the model.
            QuotaExceeded: the client holds as many sessions as it may, or begins them too fast.
            Draining: the party stops.
            Overloaded: as many sessions are ready and run as are allowed.
        """
        self._tenants.require_model(owner, model.manifest.name, model.manifest.version)
        self._check_room(owner)
        if self._leads:
            self._tenants.begin(owner)

    def _check_room(self, owner: str) -> None:
        if self._draining:
            raise Draining("a party that stops", expected="one that takes sessions", remedy="Retry later.")
        self._tenants.require_room(owner, self._sessions.held_by(owner), 1 if self._leads else HELD_PER_READY)
        if self._leads:
            self.room_for(owner)

    def room_for(self, owner: str) -> HeldSession | None:
        """Return which session would have to go if one more of ``owner`` became ready; None if there is room.

        The last that waits of the client who has most goes, if it has at least as many as ``owner`` afterwards.

        Raises:
            Overloaded: as many are ready and run as are allowed, and nobody has too many of them.
        """
        ready = [
            one
            for one in self._sessions.all()
            if one.state is SessionState.RUNNING or (one.state is SessionState.READY and one.failure is None)
        ]
        if len(ready) < self._limits.ready:
            return None
        share = Counter(session.owner for session in ready)
        waiting = [session for session in ready if session.state is SessionState.READY]
        last = max(reversed(waiting), key=lambda session: share[session.owner], default=None)
        if last is None or share[last.owner] < share[owner] + 2:
            raise self.overloaded()
        return last

    def overloaded(self) -> Overloaded:
        """Return why a session finds no room."""
        limits = self._limits
        return Overloaded(
            f"{limits.ready} sessions",
            expected=f"at most {limits.sessions} running and {limits.queue} waiting",
            remedy="Retry later.",
        )

    def hold(self, session: HeldSession) -> None:
        """Hold the session; nothing is burned. The greediest client makes room for another, if too many are held.

        Raises:
            Draining, Overloaded, QuotaExceeded: as :meth:`check_client`.
            SessionReplayed: the id is in use, or was burned.
        """
        with self._lock:
            self._check_room(session.owner)
            if self._ledger.state(session.session_id.hex()) is not None:
                raise SessionReplayed(
                    f"session {session.session_id.hex()} again",
                    expected="a session id that was never used",
                    remedy="Make a new session for every inference; the SDK does.",
                )
            self._make_room()
            self._sessions.add(session)

    def _make_room(self) -> None:
        held = [session for session in self._sessions.all() if session.state is SessionState.HELD]
        if len(held) < self.most_held:
            return
        (greediest, _), *_ = Counter(session.owner for session in held).most_common(1)
        oldest = next(session for session in held if session.owner == greediest)
        self._give_up(
            oldest,
            Overloaded(
                f"{len(held)} sessions whose other shares have not come",
                expected=f"at most {self.most_held}",
                remedy="Submit each session's shares to all parties at once; the SDK does.",
            ),
        )


def _check_form(spec: session_pb2.SessionSpec) -> None:
    require_client_version(spec.protocol_version)
    if len(spec.session_id) != SESSION_ID_BYTES:
        raise SessionError(
            f"a session id of {len(spec.session_id)} bytes",
            expected=f"{SESSION_ID_BYTES} random bytes",
            remedy="Use the SDK.",
        )


def _check_same(spec: session_pb2.SessionSpec, manifest: Manifest) -> None:
    """See that client and party mean the same program, manifest and input."""
    if spec.program_sha256 != bytes.fromhex(manifest.program_sha256):
        raise ProgramMismatch(
            f"program {spec.program_sha256.hex()[:16]}..",
            expected=f"{manifest.program_sha256[:16]}..",
            remedy="Refresh the client's manifests, or load the same model at all parties.",
        )
    if spec.manifest_sha256 != (digest := manifest_digest_for(spec.protocol_version, manifest)):
        raise ModelMismatch(
            f"manifest {spec.manifest_sha256.hex()[:16]}..",
            expected=f"{digest.hex()[:16]}..",
            remedy="Load shares of one 'mpcvit model share' run at all parties.",
        )
    if tuple(spec.input_shape) != manifest.input_shape:
        raise ShapeMismatch(
            f"input shape {tuple(spec.input_shape)}",
            expected=str(manifest.input_shape),
            remedy="Bring the picture to the model's size.",
        )
