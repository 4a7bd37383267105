"""The tensors of a model as the Open Inference Protocol sees it: one share in, one share out."""

from __future__ import annotations

from mpcvit.wire.manifest import Manifest
from mpcvit.wire.reveal import RevealKind
from parties.party.open_inference.stubs import grpc_service_pb2

INT64 = "INT64"
INPUT = "pixels_share"


def output_name(manifest: Manifest) -> str:
    """Return the output's name: which kind of answer it is a share of."""
    kind = manifest.reveal.kind
    return "labels_share" if kind in (RevealKind.LABEL, RevealKind.TOPK) else f"{kind}_share"


def metadata(manifest: Manifest) -> grpc_service_pb2.ModelMetadataResponse:
    """Return what clients are told of a model."""
    tensor = grpc_service_pb2.ModelMetadataResponse.TensorMetadata
    return grpc_service_pb2.ModelMetadataResponse(
        name=manifest.name,
        versions=[manifest.version],
        platform="mpcvit",
        inputs=[tensor(name=INPUT, datatype=INT64, shape=manifest.input_shape)],
        outputs=[tensor(name=output_name(manifest), datatype=INT64, shape=[manifest.outputs])],
    )
