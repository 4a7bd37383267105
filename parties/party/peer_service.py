"""What other compute parties call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import cast

import grpc

from mpcvit.errors import ModelMismatch, NotAllowed, SessionUnknown
from mpcvit.wire import PROTOCOL_VERSION, SESSION_METADATA
from mpcvit.wire.tls import require_party
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc
from parties.common.deadline import deadline
from parties.common.failure import answering
from parties.common.settings import EngineName
from parties.common.version import require_version
from parties.party.masked.engine import FastEngine
from parties.party.masked.follower import Follower
from parties.party.party import ComputeParty


class PeerService(peer_pb2_grpc.PeerServiceServicer):
    """The gRPC face of a :class:`ComputeParty` towards its peers."""

    def __init__(self, party: ComputeParty) -> None:
        self._party = party
        self._role = f"party{party.index}"

    def CheckPeer(  # noqa: N802
        self, request: peer_pb2.CheckPeerRequest, context: grpc.ServicerContext
    ) -> peer_pb2.CheckPeerResponse:
        """Show that this party lives, and compare the caller's ledger with what is known of it."""
        with answering(context, self._role):
            caller = f"party{require_party(context)}"
            require_version(request.protocol_version, caller)
            self._party.ledger.remember(caller, request.ledger)
            mark = self._party.ledger.mark()
        return peer_pb2.CheckPeerResponse(
            protocol_version=PROTOCOL_VERSION,
            unix_time_s=time.time(),
            ledger=mark,
            audit=self._party.audit.head,
            manifest_sha256=[model.manifest.digest for model in self._party.models.all()],
        )

    def OpenSession(  # noqa: N802
        self, request: peer_pb2.OpenSessionRequest, context: grpc.ServicerContext
    ) -> peer_pb2.OpenSessionResponse:
        """Wait for the client's share of the same session, then compare the specs byte by byte."""
        sessions, timeouts = self._party.sessions, self._party.settings.timeouts
        with answering(context, self._role):
            self._require_leader(context)
            require_version(request.protocol_version, "party0")
            self._party.admission.check(request.spec)
            self._same_engine(request.engine)
            context.add_callback(sessions.look_again)
            session = sessions.wait_for(request.spec.session_id, timeouts.pair_s, context.is_active)
            own = session.spec.SerializeToString(deterministic=True)
            if own != request.spec.SerializeToString(deterministic=True):
                raise ModelMismatch(
                    "another spec for the same session",
                    expected="byte-identical specs at all parties",
                    remedy="Retry with a new session; report it if it persists.",
                )
            session.dealer = request.dealer
        return peer_pb2.OpenSessionResponse(sessions=self._party.settings.limits.sessions)

    def PrepareMaterial(  # noqa: N802
        self, request: peer_pb2.PrepareMaterialRequest, context: grpc.ServicerContext
    ) -> peer_pb2.PrepareMaterialResponse:
        """Have material ready for a later session."""
        with answering(context, self._role):
            self._follower(context).prepare(request)
        return peer_pb2.PrepareMaterialResponse()

    def OpenWeights(  # noqa: N802
        self, requests: Iterator[peer_pb2.OpenWeightsRequest], context: grpc.ServicerContext
    ) -> Iterator[peer_pb2.OpenWeightsResponse]:
        """Swap masked weights."""
        with answering(context, self._role), deadline(context, self._party.settings.timeouts.offline_s):
            for chunk in self._follower(context).answer_weights(requests):
                yield peer_pb2.OpenWeightsResponse(chunk=chunk)

    def Exchange(  # noqa: N802
        self, requests: Iterator[peer_pb2.ExchangeRequest], context: grpc.ServicerContext
    ) -> Iterator[peer_pb2.ExchangeResponse]:
        """Connect the caller's stream with the session and serve it until the session ends."""
        with answering(context, self._role):
            peer = require_party(context)
            session_id = dict(context.invocation_metadata()).get(SESSION_METADATA, b"")
            session = self._party.sessions.find(session_id)
            if session is None:
                raise SessionUnknown(
                    "a stream for a session that is not held here",
                    expected="OpenSession first",
                    remedy="Retry with a new session.",
                )
            stream = self._party.sessions.attach(session, peer)
            if peer == 0:
                self._party.wait_for_turn(session)
        reader = threading.Thread(target=stream.consume, args=(requests,), name=f"peer{peer}", daemon=True)
        reader.start()
        yield from stream.outgoing(peer_pb2.ExchangeResponse)
        reader.join(timeout=1)

    @staticmethod
    def _require_leader(context: grpc.ServicerContext) -> None:
        if (caller := require_party(context)) != 0:
            raise NotAllowed(f"a call by party {caller}", expected="party 0", remedy="Correct the addresses of peers.")

    def _same_engine(self, name: str) -> None:
        if name != self._party.engine.name:
            raise ModelMismatch(
                f"engine '{name}' at the caller",
                expected=f"'{self._party.engine.name}', as here",
                remedy="Set the same 'engine' in all parties' configurations.",
            )

    def _follower(self, context: grpc.ServicerContext) -> Follower:
        """Return the fast engine's follower, for a call from party 0, which leads."""
        self._require_leader(context)
        self._same_engine(EngineName.FAST)
        role = cast(FastEngine, self._party.engine).role
        if not isinstance(role, Follower):
            raise NotAllowed("a call to party 0", expected="party 1", remedy="Correct the addresses of peers.")
        return role

    def AbortSession(  # noqa: N802
        self, request: peer_pb2.AbortSessionRequest, context: grpc.ServicerContext
    ) -> peer_pb2.AbortSessionResponse:
        """Take note that the caller gave a session up."""
        with answering(context, self._role):
            self._party.runner.abort(request.session_id, require_party(context), request.reason)
        return peer_pb2.AbortSessionResponse()
