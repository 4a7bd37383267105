"""What a ModelInfer request asks for, as a session of ours."""

from __future__ import annotations

import numpy as np

from mpcvit.errors import InputError, InvalidShare, ShapeMismatch
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire import PROTOCOL_VERSION, SESSION_ID_BYTES
from mpcvit.wire.codec import tensor, tensor_bytes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.v1 import session_pb2
from parties.party.open_inference.stubs import grpc_service_pb2
from parties.party.open_inference.tensors import INPUT, INT64, output_name

#: For clients that set no ``expires_at``: the latest time there is.
_NEVER = 2**63 - 1


def session_spec(request: grpc_service_pb2.ModelInferRequest, manifest: Manifest) -> session_pb2.SessionSpec:
    """Return what all parties must agree on; what the client leaves out is what this party's ``manifest`` says.

    Parties compare specs byte by byte, so a client that pins nothing still gets the same model everywhere.

    Raises:
        InputError: a parameter is missing or malformed.
    """
    return session_pb2.SessionSpec(
        session_id=_digest(request, "session_id", SESSION_ID_BYTES, None),
        model_name=manifest.name,
        model_version=manifest.version,
        manifest_sha256=_digest(request, "manifest_sha256", 32, manifest.digest),
        program_sha256=bytes.fromhex(manifest.program_sha256),
        input_shape=manifest.input_shape,
        protocol_version=PROTOCOL_VERSION,
        expires_at=_number(request, "expires_at", _NEVER),
    )


def input_share(request: grpc_service_pb2.ModelInferRequest, manifest: Manifest, index: int) -> Codes:
    """Return the share of the picture that ``request`` holds for party ``index``: int64 of the model's input shape.

    Raises:
        InvalidShare: not exactly one tensor of the right name and datatype, of the wrong length, or another party's.
        ShapeMismatch: it has another shape.
        InputError: an output is asked for that there is none of.
    """
    given = [(one.name, one.datatype) for one in request.inputs]
    if given != [(INPUT, INT64)]:
        raise InvalidShare(
            f"inputs {given}", expected=f"one input '{INPUT}' of datatype {INT64}", remedy="Send this party's share."
        )
    if (whose := _number(request, "share_index", index)) != index:
        raise InvalidShare(
            f"share {whose} at party {index}", expected=f"share {index}", remedy="Send party N the share N."
        )
    wanted = {output.name for output in request.outputs}
    if not wanted <= {output_name(manifest)}:
        raise InputError(
            f"a request for outputs {sorted(wanted)}",
            expected=f"'{output_name(manifest)}'",
            remedy="See ModelMetadata for what there is.",
        )
    (only,) = request.inputs
    if tuple(only.shape) != manifest.input_shape:
        raise ShapeMismatch(
            f"'{INPUT}' of shape {tuple(only.shape)}",
            expected=f"{manifest.input}: shape {manifest.input_shape}, without a batch",
            remedy="Resize the picture, and put the channels first.",
        )
    return tensor(_raw(request, only.contents), manifest.input_shape)


def _raw(
    request: grpc_service_pb2.ModelInferRequest, contents: grpc_service_pb2.InferTensorContents
) -> bytes | memoryview:
    raw = request.raw_input_contents
    if len(raw) + bool(contents.int64_contents) != 1:
        raise InvalidShare(
            f"{len(raw)} raw contents and {len(contents.int64_contents)} elements beside them",
            expected="the elements once",
            remedy=f"Give '{INPUT}' either raw_input_contents or int64_contents.",
        )
    return raw[0] if raw else tensor_bytes(np.array(contents.int64_contents, dtype=np.int64))


def _digest(request: grpc_service_pb2.ModelInferRequest, name: str, length: int, default: bytes | None) -> bytes:
    """Return the bytes that a parameter gives as hex digits; ``default`` if it is not there, if that may be."""
    parameter = request.parameters.get(name)
    if parameter is None and default is not None:
        return default
    try:
        found = b"" if parameter is None else bytes.fromhex(parameter.string_param)  # of another kind: no letters
    except ValueError:
        found = b""
    if len(found) != length:
        raise _malformed(name, f"{2 * length} hex digits")
    return found


def _number(request: grpc_service_pb2.ModelInferRequest, name: str, default: int) -> int:
    parameter = request.parameters.get(name)
    if parameter is None:
        return default
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise _malformed(name, "an integer")
    return int(parameter.int64_param)


def _malformed(name: str, expected: str) -> InputError:
    return InputError(
        f"a request without a usable parameter '{name}'",
        expected=expected,
        remedy=f"Set '{name}' as the page on the Open Inference Protocol says.",
    )
