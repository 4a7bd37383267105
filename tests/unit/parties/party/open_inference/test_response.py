"""What a result becomes, and what clients are told of a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.reveal import Disclosure
from mpcvit.wire.stats import Stats
from mpcvit.wire.v1 import session_pb2
from parties.party.open_inference.response import inference
from parties.party.open_inference.tensors import metadata
from parties.party.sessions import Finished
from tests.support.stand_in import MANIFEST

STATS = Stats(
    offline_s=1.5, online_s=2.0, peer_wait_s=0.5, material_wait_s=0.0, rounds=7, bytes_sent=2**40, material_bytes=9
)
SPEC = session_pb2.SessionSpec(session_id=bytes(range(16)), manifest_sha256=MANIFEST.digest)


@pytest.mark.parametrize(
    ("reveal", "name", "outputs"), [(Disclosure(), "logits_share", 3), (Disclosure.topk(2), "labels_share", 3)]
)
def test_a_share_travels_with_what_it_takes_to_use_it(reveal: Disclosure, name: str, outputs: int) -> None:
    """Elements little-endian, their scale for logits alone, costs, the digest that parties must have alike."""
    manifest = replace(MANIFEST, reveal=reveal)
    codes = np.array([-(2**63), -1, 2**63 - 1])
    answer = inference(Finished(ResultShare(codes, b"\xab" * 32), STATS), SPEC, manifest, "mine")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == (name, "INT64", [outputs])
    assert answer.raw_output_contents[0] == codes.astype("<i8").tobytes()
    scale = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in output.parameters.items()}
    assert scale == ({"fraction_bits": 12, "lowest": -64.0, "highest": 64.0} if reveal.logits else {})
    if scale:
        assert output.parameters["lowest"].WhichOneof("parameter_choice") == "double_param"
    facts = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in answer.parameters.items()}
    assert facts == {
        "session_id": SPEC.session_id.hex(),
        "manifest_sha256": MANIFEST.digest.hex(),
        "guard_digest": "ab" * 32,
        "offline_s": 1.5,
        "online_s": 2.0,
        "peer_wait_s": 0.5,
        "material_wait_s": 0.0,
        "rounds": 7,
        "bytes_sent": 2**40,
        "material_bytes": 9,
    }
    assert metadata(manifest).outputs[0].name == name
    assert list(metadata(manifest).outputs[0].shape) == [outputs]
