"""The Open Inference Protocol's service: a stock client sends each party a share, and adds up what comes back."""

from __future__ import annotations

from collections.abc import Callable

import grpc

import mpcvit
from mpcvit.errors import ModelMismatch
from mpcvit.store.shared import ModelShare
from parties.common.failure import answering
from parties.party.collect import collect
from parties.party.open_inference.request import input_share, session_spec
from parties.party.open_inference.response import inference
from parties.party.open_inference.stubs import grpc_service_pb2, grpc_service_pb2_grpc
from parties.party.open_inference.tensors import metadata
from parties.party.party import ComputeParty
from parties.party.sessions import Finished

#: What a party serves beyond the protocol: the SDK's services.
_EXTENSIONS = ("mpcvit.v1",)


class OpenInferenceService(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """The second gRPC face of a :class:`ComputeParty` towards clients.

    Args:
        ready: whether the party can run sessions now.
    """

    def __init__(self, party: ComputeParty, ready: Callable[[], bool]) -> None:
        self._party, self._ready = party, ready
        self._role = f"party{party.index}"

    def ServerLive(  # noqa: N802
        self, request: grpc_service_pb2.ServerLiveRequest, context: grpc.ServicerContext
    ) -> grpc_service_pb2.ServerLiveResponse:
        """Answer."""
        with answering(context, self._role):
            self._party.callers.client(context)
        return grpc_service_pb2.ServerLiveResponse(live=True)

    def ServerReady(  # noqa: N802
        self, request: grpc_service_pb2.ServerReadyRequest, context: grpc.ServicerContext
    ) -> grpc_service_pb2.ServerReadyResponse:
        """Say whether sessions can run."""
        with answering(context, self._role):
            self._party.callers.client(context)
            return grpc_service_pb2.ServerReadyResponse(ready=self._ready())

    def ModelReady(  # noqa: N802
        self, request: grpc_service_pb2.ModelReadyRequest, context: grpc.ServicerContext
    ) -> grpc_service_pb2.ModelReadyResponse:
        """Say whether sessions of one model can run; a model that is not served is not ready."""
        with answering(context, self._role):
            model = self._find(self._party.callers.client(context), request.name, request.version)
            return grpc_service_pb2.ModelReadyResponse(ready=model is not None and self._ready())

    def ServerMetadata(  # noqa: N802
        self, request: grpc_service_pb2.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> grpc_service_pb2.ServerMetadataResponse:
        """Say what answers."""
        with answering(context, self._role):
            self._party.callers.client(context)
        return grpc_service_pb2.ServerMetadataResponse(
            name="mpcvit", version=mpcvit.__version__, extensions=_EXTENSIONS
        )

    def ModelMetadata(  # noqa: N802
        self, request: grpc_service_pb2.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> grpc_service_pb2.ModelMetadataResponse:
        """Say what a model takes and gives."""
        with answering(context, self._role):
            owner = self._party.callers.client(context)
            return metadata(self._served(owner, request.name, request.version).manifest)

    def ModelInfer(  # noqa: N802
        self, request: grpc_service_pb2.ModelInferRequest, context: grpc.ServicerContext
    ) -> grpc_service_pb2.ModelInferResponse:
        """Take a share, wait until all parties have run the session, answer with this party's share of the result."""
        with answering(context, self._role):
            owner = self._party.callers.client(context)
            with self._party.reports.refusals(owner, request.model_name):
                model = self._served(owner, request.model_name, request.model_version)
                spec = session_spec(request, model.manifest)
                self._party.admission.check(spec)
                self._party.admission.check_client(owner, model)
                self._party.submit(spec, model, owner, input_share(request, model.manifest, self._party.index))
            session = self._party.sessions.owned(spec.session_id, owner)
            (finished,) = (event for event in collect(self._party, session, context) if isinstance(event, Finished))
            return inference(finished, spec, model.manifest, request.id)

    def _find(self, owner: str, name: str, version: str) -> ModelShare | None:
        """Return the model if it is served and ``owner`` may use it."""
        model = self._party.models.find(name, version)
        policy = self._party.tenants.policy(owner)
        return model if model is not None and policy.allows(name, model.manifest.version) else None

    def _served(self, owner: str, name: str, version: str) -> ModelShare:
        model = self._find(owner, name, version)
        if model is None:
            raise ModelMismatch(
                f"model '{name}' version '{version}'",
                expected="a model that this party serves to this client",
                remedy="Ask for one that ListModels names.",
            )
        return model
