"""What compute parties call at the dealer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc

from mpcvit.errors import ConfigError, SessionError
from mpcvit.wire import SESSION_ID_BYTES
from mpcvit.wire.codec import CHUNK_BYTES, chunks
from mpcvit.wire.tls import require_party
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc
from parties.dealer import Dealer, Order
from parties.failure import answering
from parties.settings import EngineName


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
            lease = self._dealer.lease(_order(request), party)
        return dealer_pb2.LeaseMaterialResponse(
            lease_id=lease.lease_id,
            seed=lease.seed,
            material_bytes=lease.material_bytes,
            plan_sha256=lease.plan_sha256,
        )

    def StreamMaterial(  # noqa: N802
        self, request: dealer_pb2.StreamMaterialRequest, context: grpc.ServicerContext
    ) -> Iterator[dealer_pb2.StreamMaterialResponse]:
        """Deal and stream; gRPC's flow control keeps the dealer from running far ahead."""
        with answering(context, "dealer"):
            pieces = self._dealer.stream(request.material_id, require_party(context))
            for sequence, payload in enumerate(_regroup(pieces)):
                yield dealer_pb2.StreamMaterialResponse(sequence=sequence, payload=payload)

    def RedealMaterial(  # noqa: N802
        self, request: dealer_pb2.RedealMaterialRequest, context: grpc.ServicerContext
    ) -> Iterator[dealer_pb2.RedealMaterialResponse]:
        """Deal what ambiguous openings need."""
        with answering(context, "dealer"):
            party = require_party(context)
            steps = self._dealer.redeal(
                _order(request.lease), request.lease_id, party, dict(request.attempts), list(request.ambiguous)
            )
            for step, sent in steps:
                for payload in chunks(sent):
                    yield dealer_pb2.RedealMaterialResponse(step=step, payload=bytes(payload))

    def LeaseWeightMask(  # noqa: N802
        self, request: dealer_pb2.LeaseWeightMaskRequest, context: grpc.ServicerContext
    ) -> dealer_pb2.LeaseWeightMaskResponse:
        """Reserve a mask for one load of a model's weights."""
        with answering(context, "dealer"):
            party = require_party(context)
            _check_id(request.weight_mask_id)
            seed = self._dealer.lease_weight_mask(
                request.weight_mask_id, request.program_sha256, request.manifest_sha256, party
            )
        return dealer_pb2.LeaseWeightMaskResponse(seed=seed)


def _order(request: dealer_pb2.LeaseMaterialRequest) -> Order:
    _check_id(request.material_id)
    if not 2 <= request.parties <= 16:
        raise SessionError(
            f"{request.parties} parties",
            expected="2 to 16 parties",
            remedy="Run the same version of mpcvit everywhere.",
        )
    if request.engine not in list(EngineName):
        raise ConfigError(
            f"engine '{request.engine}'",
            expected=f"one of {', '.join(EngineName)}",
            remedy="Run the same version of mpcvit everywhere.",
        )
    return Order(
        request.material_id,
        request.program_sha256,
        request.model_version,
        request.parties,
        EngineName(request.engine),
        request.objective,
        request.weight_mask_id,
    )


def _check_id(identity: bytes) -> None:
    if len(identity) != SESSION_ID_BYTES:
        raise SessionError(
            f"an id of {len(identity)} bytes",
            expected=f"{SESSION_ID_BYTES} random bytes",
            remedy="Run the same version of mpcvit everywhere.",
        )


def _regroup(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in messages of the size that gRPC likes, few small ones and no large ones."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= CHUNK_BYTES:
            whole = len(buffer) - len(buffer) % CHUNK_BYTES
            for start in range(0, whole, CHUNK_BYTES):
                yield bytes(buffer[start : start + CHUNK_BYTES])
            del buffer[:whole]
    if buffer:
        yield bytes(buffer)
