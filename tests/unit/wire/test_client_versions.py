"""Clients of the last release are understood: what release v0.2.0 sent and read was recorded from its code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpcvit.errors import ModelFileError, VersionSkew
from mpcvit.inputs import InputSpec
from mpcvit.ring.qtype import QType
from mpcvit.wire import OLDEST_CLIENT_VERSION, PROTOCOL_VERSION
from mpcvit.wire.client_versions import is_readable_by, manifest_digest_for, manifest_for, require_client_version
from mpcvit.wire.codec import tensor
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.ranges import Ranges
from mpcvit.wire.reveal import LOGITS, Disclosure
from mpcvit.wire.v1 import inference_pb2

RECORDED = json.loads((Path(__file__).parents[2] / "vectors" / "client_v2.json").read_text())
SESSION = bytes(range(16))
MANIFEST = Manifest(
    name="tiny",
    version="1",
    program_sha256="ab" * 32,
    share_set="cd" * 16,
    parties=2,
    program_file_sha256="ef" * 32,
    share_sha256=("01" * 32, "23" * 32),
    input=InputSpec(shape=(3, 2, 2)),
    output_type=QType(frac=12, lo=-16.0, hi=16.0),
    labels=("a", "b", "ç"),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    reveal=Disclosure.topk(2),
    ranges=Ranges.PROVEN,
)


def _submitted(party: int) -> list[inference_pb2.SubmitShareRequest]:
    recorded = RECORDED[f"SubmitShareRequest to party {party}"]
    return [inference_pb2.SubmitShareRequest.FromString(bytes.fromhex(raw)) for raw in recorded]


@pytest.mark.parametrize("version", [0, 2])
def test_older_clients_read_manifests_as_they_know_them(version: int) -> None:
    """Byte by byte what the release made of the same model; today's format is for today's clients."""
    assert manifest_for(version, MANIFEST).decode() == RECORDED["manifest"]
    assert manifest_for(PROTOCOL_VERSION, MANIFEST) == MANIFEST.canonical() != manifest_for(2, MANIFEST)
    assert manifest_digest_for(PROTOCOL_VERSION, MANIFEST) == MANIFEST.digest
    with pytest.raises(ModelFileError):
        Manifest.parse(manifest_for(version, MANIFEST))


def test_older_clients_are_not_shown_inputs_that_they_do_not_know() -> None:
    """They read one picture of 8-bit pixels, of any number of channels."""
    gray = replace(MANIFEST, input=InputSpec(shape=(1, 2, 2)), mean=(0.5,), std=(0.5,))
    deep = replace(gray, input=InputSpec(shape=(1, 2, 2), bits=16))
    shown = [[is_readable_by(version, one) for one in (MANIFEST, gray, deep)] for version in (0, 2, PROTOCOL_VERSION)]
    assert shown == [[True, True, False], [True, True, False], [True, True, True]]


def test_older_clients_are_not_shown_answers_that_they_do_not_know() -> None:
    """They read logits and labels."""
    known = [replace(MANIFEST, reveal=reveal) for reveal in (LOGITS, Disclosure.label(), Disclosure.topk(1))]
    tags = replace(MANIFEST, reveal=Disclosure.tags())
    for version in (0, 2, PROTOCOL_VERSION):
        assert all(is_readable_by(version, one) for one in known)
        assert is_readable_by(version, tags) == (version == PROTOCOL_VERSION)


def test_older_clients_are_shown_the_whole_model_only() -> None:
    """They know of no budgets, and would refuse the list."""
    fast = replace(MANIFEST, budget="fast", views_sha256="ab" * 32)
    assert [is_readable_by(version, fast) for version in (0, 2, PROTOCOL_VERSION)] == [False, False, True]


@pytest.mark.parametrize("party", [0, 1])
def test_what_older_clients_submit_is_understood(party: int) -> None:
    """Every field of the header means what it meant, and the digest is that of the manifest as they read it."""
    header, *chunks = _submitted(party)
    spec = header.header.spec
    assert (spec.session_id, spec.model_name, spec.model_version) == (SESSION, "tiny", "1")
    assert spec.manifest_sha256 == manifest_digest_for(spec.protocol_version, MANIFEST)
    assert spec.program_sha256.hex() == MANIFEST.program_sha256
    assert tuple(spec.input_shape) == MANIFEST.input_shape
    assert (spec.protocol_version, spec.expires_at) == (2, 1_800_000_000)
    require_client_version(spec.protocol_version)
    if party == 0:
        assert (header.header.seed, chunks) == (bytes(range(32)), [])
    else:
        (chunk,) = chunks
        assert header.header.masked_bytes == len(chunk.chunk) == 96
        assert (tensor(chunk.chunk, (12,)) == np.arange(12) - 6).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ListModelsRequest", inference_pb2.ListModelsRequest),
        ("FetchResultRequest", inference_pb2.FetchResultRequest),
        ("CancelSessionRequest", inference_pb2.CancelSessionRequest),
        ("SubmitShareRequest to party 0", inference_pb2.SubmitShareRequest),
        ("SubmitShareRequest to party 1", inference_pb2.SubmitShareRequest),
    ],
)
def test_messages_come_back_as_they_were(name: str, kind: type) -> None:
    """Nothing of a message falls into unknown fields or gets another place: it is written as it was read."""
    for raw in RECORDED[name]:
        message = kind.FromString(bytes.fromhex(raw))
        assert message.SerializeToString(deterministic=True).hex() == raw
        if name in ("FetchResultRequest", "CancelSessionRequest"):
            assert message.session_id == SESSION


@pytest.mark.parametrize(
    ("version", "whose"), [(OLDEST_CLIENT_VERSION - 1, "the client"), (PROTOCOL_VERSION + 1, "the parties")]
)
def test_versions_beyond_are_refused(version: int, whose: str) -> None:
    """The message names the versions, and who has to update."""
    for good in range(OLDEST_CLIENT_VERSION, PROTOCOL_VERSION + 1):
        require_client_version(good)
    with pytest.raises(VersionSkew, match=f"version {version}; .* from 2 to 3. Update mpcvit at {whose}"):
        require_client_version(version)
