"""One session: a picture's codes are split, every party gets its share, the shares of the result are joined."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass

from mpcvit.client.answers.answer import untrusted
from mpcvit.client.cancellation import Cancellation
from mpcvit.client.parties import Parties
from mpcvit.client.transport import OnProgress, PartyTransport, Submission
from mpcvit.errors import MpcvitError, ProtocolViolation, SessionCancelled
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import join, split
from mpcvit.wire import PROTOCOL_VERSION, SESSION_ID_BYTES
from mpcvit.wire.budget import FULL
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.stats import Stats
from mpcvit.wire.v1 import session_pb2


@dataclass(frozen=True, repr=False)
class Joined:
    """How a session ended well.

    Attributes:
        session_id: 32 hex digits.
        codes: the joined result, int64 [outputs].
        stats: one per party, in party order.
    """

    session_id: str
    codes: Codes
    stats: tuple[Stats, ...]


def run_session(
    parties: Parties,
    manifest: Manifest,
    codes: Codes,
    deadline: float,
    cancellation: Cancellation,
    progress: OnProgress,
) -> Joined:
    """Return the joined result of the model of ``manifest`` for the input ``codes``, in a new session.

    Every way out but that gives the session up at all parties.

    Args:
        deadline: monotonic time.
        progress: called with what party 0 reports.

    Raises:
        AnswerOutOfRange: the parties' guards do not agree.
        ProtocolViolation: a share of the result has the wrong length.
        MpcvitError: a party failed, or the caller gave up.
    """
    session_id = secrets.token_bytes(SESSION_ID_BYTES)
    spec = session_pb2.SessionSpec(
        session_id=session_id,
        model_name=manifest.name,
        model_version=manifest.version,
        manifest_sha256=manifest.digest,
        program_sha256=bytes.fromhex(manifest.program_sha256),
        input_shape=manifest.input_shape,
        protocol_version=PROTOCOL_VERSION,
        expires_at=int(time.time() + deadline - time.monotonic()) + 1,
        budget="" if manifest.budget == FULL else manifest.budget,
    )
    seeds = [secrets.token_bytes(SEED_BYTES) for _ in range(len(parties) - 1)]
    shares: list[bytes | Codes] = [*seeds, split(codes, [Prg(seed) for seed in seeds], session_id)]
    given_up = threading.Event()

    def run(party: PartyTransport, index: int) -> tuple[ResultShare, Stats]:
        try:
            party.submit(Submission(spec, shares[index]), deadline)
        finally:
            if given_up.is_set():  # meanwhile: the party was told before it had the share
                party.cancel(session_id)
        if given_up.is_set():
            raise SessionCancelled(
                "a share of a session that was given up", expected="one that goes on", remedy="Retry."
            )
        share, stats = party.fetch(session_id, deadline, progress if index == 0 else _silent)
        if share.codes.shape != (manifest.outputs,):
            raise ProtocolViolation(
                f"a result share of shape {share.codes.shape} from party {index}",
                expected=f"{manifest.outputs} codes",
                remedy="Run the same version of mpcvit at all parties.",
            )
        return share, stats

    def give_up() -> None:
        given_up.set()
        parties.cancel(session_id)

    try:
        answers = parties.ask(run, deadline, cancellation, give_up)
        if len({share.digest for share, _ in answers}) != 1:
            raise untrusted("digests of guarded values that differ between the parties", "equal digests")
    except MpcvitError as error:
        error.session_id = error.session_id or session_id.hex()
        raise
    return Joined(session_id.hex(), join([share.codes for share, _ in answers]), tuple(stats for _, stats in answers))


def _silent(phase: str, done: int, total: int) -> None:
    """Ignore progress."""
