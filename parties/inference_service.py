"""What clients call: hand in a share, follow the session, fetch the result share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc

from mpcvit.errors import InvalidShare
from mpcvit.program.shares import ModelShare
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import mask
from mpcvit.wire.codec import chunks, join_chunks, tensor, tensor_bytes
from mpcvit.wire.tls import require_client
from mpcvit.wire.v1 import inference_pb2, inference_pb2_grpc
from parties.compute import ComputeParty
from parties.failure import answering
from parties.session_table import Failed, Finished, HeldSession, Progress


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """The gRPC face of a :class:`ComputeParty` towards clients."""

    def __init__(self, party: ComputeParty) -> None:
        self._party = party
        self._role = f"party{party.index}"

    def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> inference_pb2.ListModelsResponse:
        """Manifests of all models."""
        with answering(context, self._role):
            require_client(context)
            manifests = [model.manifest.canonical() for model in self._party.models.values()]
        return inference_pb2.ListModelsResponse(manifests=manifests)

    def SubmitShare(  # noqa: N802
        self, requests: Iterator[inference_pb2.SubmitShareRequest], context: grpc.ServicerContext
    ) -> inference_pb2.SubmitShareResponse:
        """Take a share; every length is checked before anything is stored."""
        with answering(context, self._role):
            owner = require_client(context)
            first = next(requests, None)
            if first is None or first.WhichOneof("part") != "header":
                raise InvalidShare("no header", expected="a header first", remedy="Use the SDK.")
            model = self._party.check(first.header.spec)
            share = _receive(first.header, (request.chunk for request in requests), model)
            self._party.submit(first.header.spec, model, owner, share)
        return inference_pb2.SubmitShareResponse()

    def FetchResult(  # noqa: N802
        self, request: inference_pb2.FetchResultRequest, context: grpc.ServicerContext
    ) -> Iterator[inference_pb2.FetchResultResponse]:
        """Stream progress, then the result; a client that goes away cancels its session."""
        sessions = self._party.sessions
        with answering(context, self._role):
            session = sessions.owned(request.session_id, require_client(context))
            context.add_callback(lambda: None if session.fetched else sessions.cancel(session))
            for event in session.follow(self._party.settings.timeouts.session_s):
                if isinstance(event, Progress):
                    message = inference_pb2.Progress(phase=event.phase, done=event.done, total=event.total)
                    yield inference_pb2.FetchResultResponse(progress=message)
                    continue
                session.fetched = True
                sessions.remove(session.session_id)
                if isinstance(event, Failed):
                    raise event.error
                yield from _result(event)

    def CancelSession(  # noqa: N802
        self, request: inference_pb2.CancelSessionRequest, context: grpc.ServicerContext
    ) -> inference_pb2.CancelSessionResponse:
        """Stop a session at its next step."""
        with answering(context, self._role):
            session: HeldSession = self._party.sessions.owned(request.session_id, require_client(context))
            self._party.sessions.cancel(session)
        return inference_pb2.CancelSessionResponse()


def _receive(header: inference_pb2.ShareHeader, pieces: Iterable[bytes], model: ModelShare) -> Codes:
    """This party's share of the input: expanded from a seed, or read from the stream."""
    manifest, last = model.manifest, model.index == model.manifest.parties - 1
    kind = header.WhichOneof("share")
    shape = manifest.input_shape
    size = 8 * shape[0] * shape[1] * shape[2]
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
    raw, stats = tensor_bytes(finished.result), finished.stats
    message = inference_pb2.SessionStats(
        offline_s=stats.offline_s,
        online_s=stats.online_s,
        peer_wait_s=stats.peer_wait_s,
        material_wait_s=stats.material_wait_s,
        rounds=stats.rounds,
        bytes_sent=stats.bytes_sent,
        material_bytes=stats.material_bytes,
    )
    header = inference_pb2.ResultHeader(result_bytes=len(raw), stats=message)
    yield inference_pb2.FetchResultResponse(header=header)
    for piece in chunks(raw):
        yield inference_pb2.FetchResultResponse(chunk=bytes(piece))
