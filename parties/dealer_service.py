"""What compute parties call at the dealer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc

from mpcvit.errors import SessionError
from mpcvit.wire import SESSION_ID_BYTES
from mpcvit.wire.codec import CHUNK_BYTES
from mpcvit.wire.tls import require_party
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc
from parties.dealer import Dealer
from parties.failure import answering


class DealerService(dealer_pb2_grpc.DealerServiceServicer):
    """The gRPC face of a :class:`Dealer`. The caller's party number comes from its certificate, never from the
    request.
    """

    def __init__(self, dealer: Dealer) -> None:
        self._dealer = dealer

    def LeaseMaterial(  # noqa: N802
        self, request: dealer_pb2.LeaseMaterialRequest, context: grpc.ServicerContext
    ) -> dealer_pb2.LeaseMaterialResponse:
        """Reserve randomness for the caller."""
        with answering(context, "dealer"):
            party = require_party(context)
            if len(request.session_id) != SESSION_ID_BYTES or not 2 <= request.parties <= 16:
                raise SessionError(
                    f"a session id of {len(request.session_id)} bytes and {request.parties} parties",
                    expected=f"{SESSION_ID_BYTES} bytes and 2 to 16 parties",
                    remedy="Run the same version of mpcvit everywhere.",
                )
            lease_id, seed, length = self._dealer.lease(
                request.session_id, request.program_sha256, request.model_version, party, request.parties
            )
        return dealer_pb2.LeaseMaterialResponse(lease_id=lease_id, seed=seed, correction_bytes=length)

    def StreamMaterial(  # noqa: N802
        self, request: dealer_pb2.StreamMaterialRequest, context: grpc.ServicerContext
    ) -> Iterator[dealer_pb2.StreamMaterialResponse]:
        """Deal and stream; gRPC's flow control keeps the dealer from running far ahead."""
        with answering(context, "dealer"):
            pieces = self._dealer.stream(request.session_id, require_party(context))
            for sequence, payload in enumerate(_regroup(pieces)):
                yield dealer_pb2.StreamMaterialResponse(sequence=sequence, payload=payload)


def _regroup(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    """The same bytes in messages of the size that gRPC likes, few small ones and no large ones."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)
