"""The exceptions that mpcvit raises::

    MpcvitError
    |-- InputError
    |   |-- ShapeMismatch
    |   |-- InputOutOfRange
    |   |-- InputTooLarge
    |   `-- InvalidShare
    |-- ConfigError
    |-- ProgramError
    |   `-- RangeError
    |-- RangeExceeded
    |-- ModelFileError
    |-- ModelMismatch
    |   `-- BudgetUnknown
    |-- AnswerOutOfRange
    |-- NotRevealed
    |-- ProgramMismatch
    |-- MaterialUnknown
    |-- MaterialExhausted
    |-- AttemptsExhausted
    |-- WeightMaskUnknown
    |-- VersionSkew
    |-- LedgerUnavailable
    |-- LedgerRolledBack
    |-- SessionError
    |   |-- SessionReplayed
    |   |-- SessionUnknown
    |   |-- SessionExpired
    |   `-- SessionCancelled
    |-- PeerError
    |   |-- PeerLost
    |   |-- PeerTimeout
    |   `-- PeerAborted
    |-- DealerError
    |   |-- DealerLost
    |   `-- DealerTimeout
    |-- Overloaded
    |-- QuotaExceeded
    |-- Draining
    |-- NotAuthenticated
    |-- NotAllowed
    |-- NotSigned
    |-- ProtocolViolation
    |-- RandomnessReused
    `-- InternalError

Every message says what was found, what was expected and what to do. No message ever holds a share, a mask, a key
or a pixel. None of these derives from ``RuntimeError``: CrypTen catches that one and silently switches protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self


class MpcvitError(Exception):
    """Base of all errors of this package.

    Attributes:
        reason: stable identifier that travels over the wire and into ``--json`` output.
        status: name of the gRPC status code that carries it.
        exit_code: exit status of the command line.
        got, expected, remedy: the three parts of the message; ``remedy`` is something the reader can do.
        origin: role that raised it (``party0``, ``dealer``, ...), empty if raised in this process.
        session_id: 32 hex digits of the session that failed, empty where there is none.
        phase: what the session was doing (``offline``, ``online``, ...), empty where that is not known.
        retry_after_s: seconds after which a new session may succeed although nobody mends anything; None where it would
            fail again. Each class has its own; who raises an error may know better.
    """

    reason: ClassVar[str] = "INTERNAL"
    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1
    retry_after_s: float | None = None

    def __init__(
        self,
        got: str,
        *,
        expected: str,
        remedy: str,
        origin: str = "",
        session_id: str = "",
        phase: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.got = got
        self.expected = expected
        self.remedy = remedy
        self.origin = origin
        self.session_id = session_id
        self.phase = phase
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s
        super().__init__(got, expected, remedy)

    @property
    def retry_with_new_session(self) -> bool:
        """Whether the same request may succeed in a new session although nobody mends anything."""
        return self.retry_after_s is not None

    def __str__(self) -> str:
        where = f"[{self.origin}] " if self.origin else ""
        return f"{where}got {self.got}; expected {self.expected}. {self.remedy}"


class InputError(MpcvitError):
    """The caller's image, share or argument cannot be used."""

    reason, status, exit_code = "INVALID_INPUT", "INVALID_ARGUMENT", 4


class ShapeMismatch(InputError):
    """A tensor has another shape than the model's."""

    reason = "SHAPE_MISMATCH"


class InputOutOfRange(InputError):
    """What was shared is no picture: some code is none of a pixel, of 8 or 16 bits as the model reads them."""

    reason = "INPUT_OUT_OF_RANGE"


class InputTooLarge(InputError):
    """An upload is larger than what was announced or allowed."""

    reason = "INPUT_TOO_LARGE"


class InvalidShare(InputError):
    """A share is malformed: wrong length, wrong kind for this party."""

    reason = "INVALID_SHARE"


class ConfigError(MpcvitError):
    """A configuration file, model configuration or setting is wrong."""

    reason, status, exit_code = "CONFIG", "FAILED_PRECONDITION", 4


class ProgramError(MpcvitError):
    """A Program is not well formed."""

    reason, status = "PROGRAM", "FAILED_PRECONDITION"


class RangeError(ProgramError):
    """A value may leave the range for which a Program is proven."""

    reason = "RANGE"


class RangeExceeded(MpcvitError):
    """A value left the range for which the protocols are right; on shares the answer would be wrong."""

    reason, status, exit_code = "RANGE_EXCEEDED", "FAILED_PRECONDITION", 5


class ModelFileError(MpcvitError):
    """A model, program, share or picture file is missing, damaged or of an unknown version."""

    reason, status = "MODEL_FILE", "FAILED_PRECONDITION"


class ModelMismatch(MpcvitError):
    """The parties, or the client and a party, do not mean the same model."""

    reason, status = "MODEL_MISMATCH", "FAILED_PRECONDITION"


class BudgetUnknown(ModelMismatch):
    """A model has no Program for the budget that was asked for."""

    reason = "BUDGET_UNKNOWN"

    @classmethod
    def of(cls, model: str, budget: str, known: Iterable[str]) -> Self:
        """Return the error for a budget that is not among those that ``model`` has."""
        return cls(
            f"budget '{budget}' of model '{model}'",
            expected=f"one of {', '.join(known)}",
            remedy="Ask for one of these, or for none, which is the whole model.",
        )


class AnswerOutOfRange(MpcvitError):
    """What the parties sent is no answer of the model: some value on the way left the range that it was made for."""

    reason, status, exit_code = "ANSWER_OUT_OF_RANGE", "OUT_OF_RANGE", 6


class NotRevealed(MpcvitError):
    """The caller asks an answer for something that its model keeps from everybody, the client included."""

    reason, status, exit_code = "NOT_REVEALED", "FAILED_PRECONDITION", 4


class ProgramMismatch(MpcvitError):
    """The same model, but another Program digest."""

    reason, status = "PROGRAM_MISMATCH", "FAILED_PRECONDITION"


class MaterialUnknown(MpcvitError):
    """The other party does not hold the material that a session was to use; it restarted."""

    reason, status = "MATERIAL_UNKNOWN", "FAILED_PRECONDITION"
    retry_after_s = 1.0


class MaterialExhausted(MpcvitError):
    """The correlated randomness for a session is not there; ``retry_after_s`` estimates when it will be."""

    reason, status = "MATERIAL_EXHAUSTED", "RESOURCE_EXHAUSTED"
    retry_after_s = 5.0


class AttemptsExhausted(MpcvitError):
    """Every attempt that a session may make met an ambiguous opening; chance does not explain so many."""

    reason, status = "ATTEMPTS_EXHAUSTED", "ABORTED"


class WeightMaskUnknown(MpcvitError):
    """Another process does not know the mask under which the weights were opened; it restarted. Open them again."""

    reason, status = "WEIGHT_MASK_UNKNOWN", "FAILED_PRECONDITION"
    retry_after_s = 1.0


class VersionSkew(MpcvitError):
    """The other side speaks a protocol version that this one does not."""

    reason, status = "VERSION_SKEW", "FAILED_PRECONDITION"


class LedgerUnavailable(MpcvitError):
    """A role cannot record that an id is used, so it may not use it: a full disk, a database that is gone."""

    reason, status, exit_code = "LEDGER_UNAVAILABLE", "UNAVAILABLE", 2


class LedgerRolledBack(MpcvitError):
    """A role works on an older ledger than before, or on another one: it may have forgotten which ids are used."""

    reason, status, exit_code = "LEDGER_ROLLED_BACK", "FAILED_PRECONDITION", 5


class SessionError(MpcvitError):
    """A session cannot be used the way it was asked for."""

    reason, status = "SESSION", "FAILED_PRECONDITION"


class SessionReplayed(SessionError):
    """A session id was used before; every session id and its randomness serve once."""

    reason, status = "SESSION_REPLAYED", "ALREADY_EXISTS"
    retry_after_s = 0.0


class SessionUnknown(SessionError):
    """No such session here, or not yours."""

    reason, status = "SESSION_UNKNOWN", "NOT_FOUND"
    retry_after_s = 1.0


class SessionExpired(SessionError):
    """A session ran out of its time."""

    reason, status, exit_code = "SESSION_EXPIRED", "DEADLINE_EXCEEDED", 3
    retry_after_s = 1.0


class SessionCancelled(SessionError):
    """A session was cancelled by its submitter or by shutdown."""

    reason, status = "SESSION_CANCELLED", "CANCELLED"


class PeerError(MpcvitError):
    """Another party failed us."""

    reason, status, exit_code = "PEER", "UNAVAILABLE", 2


class PeerLost(PeerError):
    """The connection to another party is gone or was never there."""

    reason = "PEER_LOST"
    retry_after_s = 1.0


class PeerTimeout(PeerError):
    """Another party is connected but silent."""

    reason, status, exit_code = "PEER_TIMEOUT", "DEADLINE_EXCEEDED", 3
    retry_after_s = 1.0


class PeerAborted(PeerError):
    """Another party gave the session up and said why."""

    reason, status = "PEER_ABORTED", "ABORTED"


class DealerError(MpcvitError):
    """The dealer failed us."""

    reason, status, exit_code = "DEALER", "UNAVAILABLE", 2


class DealerLost(DealerError):
    """The dealer cannot be reached, or its stream ended early."""

    reason = "DEALER_LOST"
    retry_after_s = 1.0


class DealerTimeout(DealerError):
    """The dealer is connected but slower than the deadline."""

    reason, status, exit_code = "DEALER_TIMEOUT", "DEADLINE_EXCEEDED", 3
    retry_after_s = 1.0


class Overloaded(MpcvitError):
    """The service runs as many sessions as it is allowed to."""

    reason, status = "OVERLOADED", "RESOURCE_EXHAUSTED"
    retry_after_s = 1.0


class QuotaExceeded(MpcvitError):
    """The caller uses the service more than it is allowed to; others are served."""

    reason, status = "QUOTA", "RESOURCE_EXHAUSTED"
    retry_after_s = 1.0


class Draining(MpcvitError):
    """The service is about to stop: it ends the sessions that run and takes no new ones."""

    reason, status, exit_code = "DRAINING", "UNAVAILABLE", 2
    retry_after_s = 5.0


class NotAuthenticated(MpcvitError):
    """A TLS handshake failed or a certificate does not name a role."""

    reason, status, exit_code = "NOT_AUTHENTICATED", "UNAUTHENTICATED", 2


class NotAllowed(MpcvitError):
    """The certificate is good, but its role may not do this."""

    reason, status, exit_code = "NOT_ALLOWED", "PERMISSION_DENIED", 2


class NotSigned(MpcvitError):
    """A model whose manifest none of the owners signed that are trusted here."""

    reason, status, exit_code = "NOT_SIGNED", "FAILED_PRECONDITION", 2


class ProtocolViolation(MpcvitError):
    """A message with a wrong tag, sequence number or length."""

    reason, status, exit_code = "PROTOCOL_VIOLATION", "ABORTED", 5


class RandomnessReused(MpcvitError):
    """A named random stream was asked for twice."""

    reason, status, exit_code = "RANDOMNESS_REUSED", "INTERNAL", 5


class InternalError(MpcvitError):
    """Something that should not happen; details stay in the log of the process that raised it."""

    reason, status, exit_code = "INTERNAL", "INTERNAL", 5


def _tree(root: type[MpcvitError]) -> list[type[MpcvitError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def by_reason(reason: str) -> type[MpcvitError]:
    """Return the exception class whose ``reason`` is given; :class:`InternalError` for an unknown one."""
    return {cls.reason: cls for cls in _tree(MpcvitError) if cls is not MpcvitError}.get(reason, InternalError)
