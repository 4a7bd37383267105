"""What compute parties call at the dealer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import grpc

from mpcvit.errors import ConfigError, SessionError
from mpcvit.wire import PROTOCOL_VERSION, SESSION_ID_BYTES
from mpcvit.wire.codec import CHUNK_BYTES
from mpcvit.wire.tls import require_party
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc
from parties.common.failure import answering
from parties.common.metrics import Metrics
from parties.common.settings import EngineName
from parties.common.version import require_version
from parties.dealer.lease import MaterialOrder
from parties.dealer.leases import Dealer


class DealerService(dealer_pb2_grpc.DealerServiceServicer):
    """The gRPC face of a :class:`Dealer`. The caller's party number comes from its certificate, never from the
    request.
    """

    def __init__(self, dealer: Dealer, metrics: Metrics) -> None:
        self._dealer, self._metrics = dealer, metrics

    def CheckDealer(  # noqa: N802
        self, request: dealer_pb2.CheckDealerRequest, context: grpc.ServicerContext
    ) -> dealer_pb2.CheckDealerResponse:
        """Show that the dealer lives, and how far its ledger has come."""
        with answering(context, "dealer"):
            require_version(request.protocol_version, f"party{require_party(context)}")
            mark = self._dealer.mark()
        return dealer_pb2.CheckDealerResponse(
            protocol_version=PROTOCOL_VERSION, unix_time_s=time.time(), ledger=mark, audit=self._dealer.audit.head
        )

    def ReleaseMaterial(  # noqa: N802
        self, request: dealer_pb2.ReleaseMaterialRequest, context: grpc.ServicerContext
    ) -> dealer_pb2.ReleaseMaterialResponse:
        """End a lease that its party gives up."""
        with answering(context, "dealer"):
            self._dealer.release(request.material_id, require_party(context))
        return dealer_pb2.ReleaseMaterialResponse()

    def LeaseMaterial(  # noqa: N802
        self, request: dealer_pb2.LeaseMaterialRequest, context: grpc.ServicerContext
    ) -> dealer_pb2.LeaseMaterialResponse:
        """Reserve randomness for the caller."""
        with answering(context, "dealer"):
            party = require_party(context)
            self._dealer.greet(party, request.ledger)
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
            party = require_party(context)
            pieces = self._dealer.stream(request.material_id, party)
            sent = self._metrics.bytes.labels(f"party{party}", "sent")
            for sequence, payload in enumerate(_regroup(pieces)):
                sent.inc(len(payload))
                yield dealer_pb2.StreamMaterialResponse(sequence=sequence, payload=payload)

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


def _order(request: dealer_pb2.LeaseMaterialRequest) -> MaterialOrder:
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
    return MaterialOrder(
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
    """Yield the same bytes in messages of the size that gRPC likes, few small ones and no large ones."""
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
