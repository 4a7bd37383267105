"""What other compute parties call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

import grpc

from mpcvit.errors import ModelMismatch, NotAllowed, SessionUnknown
from mpcvit.wire import SESSION_METADATA
from mpcvit.wire.tls import require_party
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc
from parties.compute import ComputeParty
from parties.failure import answering
from parties.fast_engine import FastEngine
from parties.settings import EngineName


class PeerService(peer_pb2_grpc.PeerServiceServicer):
    """The gRPC face of a :class:`ComputeParty` towards its peers."""

    def __init__(self, party: ComputeParty) -> None:
        self._party = party
        self._role = f"party{party.index}"

    def OpenSession(  # noqa: N802
        self, request: peer_pb2.OpenSessionRequest, context: grpc.ServicerContext
    ) -> peer_pb2.OpenSessionResponse:
        """Wait for the client's share of the same session, then compare the specs byte by byte."""
        with answering(context, self._role):
            require_party(context)
            self._party.check(request.spec)
            self._same_engine(request.engine)
            session = self._party.sessions.wait_for(request.spec.session_id, self._party.settings.timeouts.pair_s)
            own = session.spec.SerializeToString(deterministic=True)
            if own != request.spec.SerializeToString(deterministic=True):
                raise ModelMismatch(
                    "another spec for the same session",
                    expected="byte-identical specs at all parties",
                    remedy="Retry with a new session; report it if it persists.",
                )
        return peer_pb2.OpenSessionResponse()

    def PrepareMaterial(  # noqa: N802
        self, request: peer_pb2.PrepareMaterialRequest, context: grpc.ServicerContext
    ) -> peer_pb2.PrepareMaterialResponse:
        """Have material ready for a later session."""
        with answering(context, self._role):
            self._led(context).prepare(request)
        return peer_pb2.PrepareMaterialResponse()

    def OpenWeights(  # noqa: N802
        self, requests: Iterator[peer_pb2.OpenWeightsRequest], context: grpc.ServicerContext
    ) -> Iterator[peer_pb2.OpenWeightsResponse]:
        """Swap masked weights."""
        with answering(context, self._role):
            for chunk in self._led(context).answer_weights(requests):
                yield peer_pb2.OpenWeightsResponse(chunk=chunk)

    def Exchange(  # noqa: N802
        self, requests: Iterator[peer_pb2.ExchangeRequest], context: grpc.ServicerContext
    ) -> Iterator[peer_pb2.ExchangeResponse]:
        """Connect the caller's stream with the session and serve it until the session ends."""
        with answering(context, self._role):
            peer = require_party(context)
            session_id = dict(context.invocation_metadata()).get(SESSION_METADATA, b"")
            held = [session for session in self._party.sessions.all() if session.session_id == session_id]
            if not held:
                raise SessionUnknown(
                    "a stream for a session that is not held here",
                    expected="OpenSession first",
                    remedy="Retry with a new session.",
                )
            stream = self._party.sessions.attach(held[0], peer)
        reader = threading.Thread(target=stream.consume, args=(requests,), name=f"peer{peer}", daemon=True)
        reader.start()
        yield from stream.outgoing(peer_pb2.ExchangeResponse)
        reader.join(timeout=1)

    def _same_engine(self, name: str) -> None:
        if name != self._party.engine.name:
            raise ModelMismatch(
                f"engine '{name}' at the caller",
                expected=f"'{self._party.engine.name}', as here",
                remedy="Set the same 'engine' in all parties' configurations.",
            )

    def _led(self, context: grpc.ServicerContext) -> FastEngine:
        """The fast engine, for a call from party 0, which leads."""
        caller, engine = require_party(context), self._party.engine
        if caller != 0:
            raise NotAllowed(f"a call by party {caller}", expected="party 0", remedy="Correct the addresses of peers.")
        self._same_engine(EngineName.FAST)
        return cast(FastEngine, engine)

    def AbortSession(  # noqa: N802
        self, request: peer_pb2.AbortSessionRequest, context: grpc.ServicerContext
    ) -> peer_pb2.AbortSessionResponse:
        """Take note that the caller gave a session up."""
        with answering(context, self._role):
            self._party.abort(request.session_id, require_party(context), request.reason)
        return peer_pb2.AbortSessionResponse()
