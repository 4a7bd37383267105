"""What a compute party asks of an engine: material for a session, and to run the session on it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from mpcvit.wire.v1 import session_pb2
from parties.grpc_link import GrpcLink
from parties.session_table import Finished, HeldSession
from parties.settings import EngineName

#: Called with (steps done, steps in all); raises when the session is not wanted any more.
Report = Callable[[int, int], None]
#: The online phase of a session.
Online = Callable[[Report], Finished]


class Engine(ABC):
    """One way to run Programs on shares."""

    name: ClassVar[EngineName]

    @abstractmethod
    def offline(self, session: HeldSession, link: GrpcLink) -> Online:
        """Agree on material with the peers, burn it, and return the online phase. The link is connected.

        Raises:
            DealerError, PeerError: the material does not come.
            MaterialUnknown: a peer keeps restarting.
        """

    @abstractmethod
    def release(self, session: HeldSession) -> None:
        """Take back material that an ended session has not burned."""

    @abstractmethod
    def largest_frame(self, model: str) -> int:
        """Bytes of the longest message between parties in a session of ``model``."""

    @abstractmethod
    def close(self) -> None:
        """Stop what runs in the background."""


def binding(spec: session_pb2.SessionSpec, *parts: bytes) -> bytes:
    """The digest that all parties compare before anything masked is sent: session, model, lease, plan."""
    return hashlib.sha256(b"".join([spec.SerializeToString(deterministic=True), *parts])).digest()
