"""What a compute party asks of an engine: material for a session, and to run the session on it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from mpcvit.engines.step_report import StepReport
from mpcvit.store.shared import ModelShare
from mpcvit.wire.v1 import session_pb2
from parties.common.settings import EngineName
from parties.party.grpc_link import GrpcLink
from parties.party.sessions import Finished, HeldSession

#: The online phase of a session.
Online = Callable[[StepReport], Finished]


class Engine(ABC):
    """One way to run Programs on shares."""

    name: ClassVar[EngineName]

    @abstractmethod
    def add(self, model: ModelShare) -> None:
        """Get ready to run sessions of one more model, or of another version of one."""

    @abstractmethod
    def offline(self, session: HeldSession, link: GrpcLink) -> Online:
        """Agree on material with the peers, burn it, and return the online phase. The link is connected.

        Raises:
            DealerError, PeerError: the material does not come.
            MaterialUnknown: a peer keeps restarting.
        """

    @abstractmethod
    def release(self, session: HeldSession) -> None:
        """Drop the material that an ended session holds, used or not."""

    @abstractmethod
    def largest_frame(self, model: str) -> int:
        """Return the bytes of the longest message between parties in a session of a model, given by its key."""

    @abstractmethod
    def memory(self, model: str) -> int:
        """Return the bytes that a running session of a model takes at this party, about."""

    @abstractmethod
    def available(self, model: str) -> int:
        """Return for how many sessions of ``model`` material waits ready."""

    @abstractmethod
    def lacking(self, model: str) -> str | None:
        """Return why a session of ``model`` would find no material; None if it would, or if that shows only then."""

    @abstractmethod
    def forget(self) -> None:
        """Drop what was prepared together with a peer that is lost: it may come back as another process."""

    @abstractmethod
    def expect(self, waiting: Mapping[str, int]) -> None:
        """Note how many sessions wait for their turn, by key of the model: their material may be made ahead."""

    @abstractmethod
    def close(self) -> None:
        """Stop what runs in the background."""


def binding(spec: session_pb2.SessionSpec, *parts: bytes) -> bytes:
    """Return the digest that all parties compare before anything masked is sent: session, model, lease, plan."""
    return hashlib.sha256(b"".join([spec.SerializeToString(deterministic=True), *parts])).digest()
