"""A party's part of an answer, as a ModelInfer response."""

from __future__ import annotations

from dataclasses import asdict

from mpcvit.wire.codec import tensor_bytes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.v1 import session_pb2
from parties.party.open_inference.stubs import grpc_service_pb2
from parties.party.open_inference.tensors import INT64, output_name
from parties.party.sessions import Finished


def inference(
    finished: Finished, spec: session_pb2.SessionSpec, manifest: Manifest, request_id: str
) -> grpc_service_pb2.ModelInferResponse:
    """Return the share of the result with what it takes to use it, and what it cost."""
    facts: dict[str, str | int | float] = {
        "session_id": spec.session_id.hex(),
        "manifest_sha256": spec.manifest_sha256.hex(),
        "guard_digest": finished.result.digest.hex(),
        **asdict(finished.stats),
    }
    output = grpc_service_pb2.ModelInferResponse.InferOutputTensor(
        name=output_name(manifest),
        datatype=INT64,
        shape=[manifest.outputs],
        parameters={name: _parameter(value) for name, value in _scale(manifest).items()},
    )
    return grpc_service_pb2.ModelInferResponse(
        model_name=manifest.name,
        model_version=manifest.version,
        id=request_id,
        parameters={name: _parameter(value) for name, value in facts.items()},
        outputs=[output],
        raw_output_contents=[bytes(tensor_bytes(finished.result.codes))],
    )


def _scale(manifest: Manifest) -> dict[str, int | float]:
    """Return what the sum of all shares means: numbers are sum / 2^fraction_bits, and within bounds if they are any."""
    kind = manifest.output_type
    if not manifest.reveal.kind.facts.real:
        return {}
    return {"fraction_bits": kind.frac, "lowest": float(kind.lo), "highest": float(kind.hi)}


def _parameter(value: str | float) -> grpc_service_pb2.InferParameter:
    if isinstance(value, str):
        return grpc_service_pb2.InferParameter(string_param=value)
    if isinstance(value, int):
        return grpc_service_pb2.InferParameter(int64_param=value)
    return grpc_service_pb2.InferParameter(double_param=value)
