"""What clients call: submit a share, follow the session, fetch the result share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import grpc

from mpcvit.errors import InvalidShare
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import mask
from mpcvit.store.shared import ModelShare
from mpcvit.wire.client_versions import is_readable_by, manifest_for
from mpcvit.wire.codec import chunks, join_chunks, tensor, tensor_bytes
from mpcvit.wire.v1 import inference_pb2, inference_pb2_grpc
from parties.common.deadline import deadline
from parties.common.failure import answering
from parties.party.collect import collect
from parties.party.party import ComputeParty
from parties.party.sessions import Finished


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """The gRPC face of a :class:`ComputeParty` towards clients."""

    def __init__(self, party: ComputeParty) -> None:
        self._party = party
        self._role = f"party{party.index}"

    def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> inference_pb2.ListModelsResponse:
        """Return the manifests of all models that the caller may use and can read, with their owners' signatures."""
        with answering(context, self._role):
            policy = self._party.tenants.policy(self._party.callers.client(context))
            models = [
                model
                for model in self._party.models.all()
                if policy.allows(model.manifest.name, model.manifest.version)
                and is_readable_by(request.protocol_version, model.manifest)
            ]
        return inference_pb2.ListModelsResponse(
            manifests=[manifest_for(request.protocol_version, model.manifest) for model in models],
            signatures=[model.signature for model in models],
        )

    def SubmitShare(  # noqa: N802
        self, requests: Iterator[inference_pb2.SubmitShareRequest], context: grpc.ServicerContext
    ) -> inference_pb2.SubmitShareResponse:
        """Take a share; every length is checked before anything is stored."""
        with answering(context, self._role), deadline(context, self._party.settings.timeouts.op_s):
            owner = self._party.callers.client(context)
            first = next(requests, None)
            if first is None or first.WhichOneof("part") != "header":
                raise InvalidShare("no header", expected="a header first", remedy="Use the SDK.")
            with self._party.reports.refusals(owner, first.header.spec.model_name):
                model = self._party.admission.check(first.header.spec)
                self._party.admission.check_client(owner, model)
                share = _receive(first.header, (request.chunk for request in requests), model)
                self._party.submit(first.header.spec, model, owner, share)
        return inference_pb2.SubmitShareResponse()

    def FetchResult(  # noqa: N802
        self, request: inference_pb2.FetchResultRequest, context: grpc.ServicerContext
    ) -> Iterator[inference_pb2.FetchResultResponse]:
        """Stream progress, then the result; a client that goes away cancels its session."""
        with answering(context, self._role):
            session = self._party.sessions.owned(request.session_id, self._party.callers.client(context))
            for event in collect(self._party, session, context):
                if isinstance(event, Finished):
                    yield from _result(event)
                else:
                    message = inference_pb2.Progress(phase=event.phase, done=event.done, total=event.total)
                    yield inference_pb2.FetchResultResponse(progress=message)

    def CancelSession(  # noqa: N802
        self, request: inference_pb2.CancelSessionRequest, context: grpc.ServicerContext
    ) -> inference_pb2.CancelSessionResponse:
        """Stop a session at its next step."""
        with answering(context, self._role):
            owner = self._party.callers.client(context)
            self._party.runner.cancel(self._party.sessions.owned(request.session_id, owner))
        return inference_pb2.CancelSessionResponse()


def _receive(header: inference_pb2.ShareHeader, pieces: Iterable[bytes], model: ModelShare) -> Codes:
    """Return this party's share of the input: expanded from a seed, or read from the stream."""
    manifest, last = model.manifest, model.index == model.manifest.parties - 1
    kind = header.WhichOneof("share")
    shape = manifest.input_shape
    size = 8 * math.prod(shape)
    if last and kind == "masked_bytes" and header.masked_bytes == size:
        return tensor(join_chunks(pieces, size), shape)
    if not last and kind == "seed" and len(header.seed) == SEED_BYTES:
        return mask(Prg(header.seed), shape, header.spec.session_id)
    raise InvalidShare(
        f"a share given as {kind or 'nothing'}",
        expected=f"{size} masked bytes" if last else f"a seed of {SEED_BYTES} bytes",
        remedy="Send party N its own share; the SDK does.",
    )


def _result(finished: Finished) -> Iterator[inference_pb2.FetchResultResponse]:
    raw = tensor_bytes(finished.result.codes)
    header = inference_pb2.ResultHeader(
        result_bytes=len(raw), stats=finished.stats.to_message(), guard_digest=finished.result.digest
    )
    yield inference_pb2.FetchResultResponse(header=header)
    for piece in chunks(raw):
        yield inference_pb2.FetchResultResponse(chunk=bytes(piece))
