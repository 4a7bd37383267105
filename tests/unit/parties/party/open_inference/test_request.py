"""What a ModelInfer request becomes."""

from __future__ import annotations

import numpy as np
import pytest

from mpcvit.errors import InputError, InvalidShare
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.v1 import session_pb2
from parties.party.open_inference.request import input_share, session_spec
from parties.party.open_inference.stubs import grpc_service_pb2 as pb
from tests.support.stand_in import MANIFEST

SESSION = "0123456789abcdef" * 2


def request(**parameters: str | int) -> pb.ModelInferRequest:
    """A request with these parameters and a share of zeros."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="pixels_share", datatype="INT64", shape=MANIFEST.input_shape)
    made = pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[bytes(8 * 3 * 8 * 8)])
    for name, value in parameters.items():
        if isinstance(value, str):
            made.parameters[name].string_param = value
        else:
            made.parameters[name].int64_param = value
    return made


def test_what_a_client_leaves_out_is_the_partys() -> None:
    """The session id alone is needed; two parties with one manifest make one and the same spec of it."""
    spec = session_spec(request(session_id=SESSION), MANIFEST)
    assert spec == session_pb2.SessionSpec(
        session_id=bytes.fromhex(SESSION),
        model_name=MANIFEST.name,
        model_version=MANIFEST.version,
        manifest_sha256=MANIFEST.digest,
        program_sha256=bytes.fromhex(MANIFEST.program_sha256),
        input_shape=MANIFEST.input_shape,
        protocol_version=PROTOCOL_VERSION,
        expires_at=2**63 - 1,
    )


def test_what_a_client_pins_is_kept() -> None:
    """Whether it is right, admission sees."""
    pins = {"manifest_sha256": "12" * 32, "expires_at": 1_900_000_000}
    spec = session_spec(request(session_id=SESSION.upper(), **pins), MANIFEST)
    assert spec.session_id.hex() == SESSION
    assert (spec.manifest_sha256.hex(), spec.expires_at) == ("12" * 32, 1_900_000_000)


@pytest.mark.parametrize("session_id", ["", "12" * 15, "12" * 17, "xy" * 16, 12])
def test_a_session_id_has_one_form(session_id: str | int) -> None:
    with pytest.raises(InputError, match=r"session_id.*32 hex digits"):
        session_spec(request(session_id=session_id), MANIFEST)


@pytest.mark.parametrize("raw", [True, False])
def test_a_share_comes_in_either_form(raw: bool) -> None:
    """Any 64-bit integers, as bytes or one by one; given twice they are refused."""
    share = np.random.default_rng(2).integers(-(2**63), 2**63 - 1, MANIFEST.input_shape, dtype=np.int64)
    made = request(share_index=1)
    made.ClearField("raw_input_contents")
    if raw:
        made.raw_input_contents.append(share.tobytes())
    else:
        made.inputs[0].contents.int64_contents.extend(share.reshape(-1).tolist())
    assert (input_share(made, MANIFEST, 1) == share).all()
    with pytest.raises(InvalidShare, match="share 1 at party 0"):
        input_share(made, MANIFEST, 0)
    made.raw_input_contents.append(share.tobytes())
    made.inputs[0].contents.int64_contents.append(1)
    with pytest.raises(InvalidShare, match="the elements once"):
        input_share(made, MANIFEST, 1)
