"""Manifests, chunks, errors over gRPC, roles."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit import errors
from mpcvit.errors import (
    InputTooLarge,
    InvalidShare,
    ModelFileError,
    ModelMismatch,
    MpcvitError,
    NotAllowed,
    NotAuthenticated,
    by_reason,
)
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.wire.codec import CHUNK_BYTES, chunks, join_chunks, tensor, tensor_bytes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.peer_certificate import peer_certificate
from mpcvit.wire.status import abort, from_rpc_error
from mpcvit.wire.tls import caller_role, require_client, require_party
from tests.support.authority import Authority
from tests.support.stand_in import MANIFEST


def test_manifest_round_trip_and_digest() -> None:
    """Parsing the canonical form gives the same manifest; every field changes the digest."""
    assert Manifest.parse(MANIFEST.canonical()) == MANIFEST
    others = [
        replace(MANIFEST, version="2"),
        replace(MANIFEST, share_set="ce" * 16),
        replace(MANIFEST, labels=("a", "b", "d")),
    ]
    assert len({manifest.digest for manifest in (MANIFEST, *others)}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"format": 3},
        {"format": 5},
        {"extra": 1},
        {"labels": None},
        {"input_shape": 3},
        {"input_shape": [3, 8]},
        {"input_shape": [3, 8, -8]},
        {"output_type": {"frac": 1}},
        {"name": 1},
        {"labels": [1, 2, 3]},
        {"mean": [0.5, 0.5]},
        {"std": [0.5, 0.5, float("nan")]},
        {"share_sha256": ["01" * 32]},
        {"share_sha256": ["01" * 32, "g" * 64]},
        {"share_sha256": ["01" * 32, "AB" * 32]},
        {"program_file_sha256": ""},
        {"parties": 3},
    ],
)
def test_damaged_manifests_are_refused(change: dict) -> None:
    """Other versions, unknown, missing and wrong fields are typed errors."""
    with pytest.raises(ModelFileError):
        Manifest.parse(_canonical({**json.loads(MANIFEST.canonical()), **change}))


VOLUME = replace(
    MANIFEST,
    input=InputSpec(kind=InputKind.VOLUME, shape=(4, 8, 6), bits=16, window=(-1000, 400)),
    mean=(0.5,),
    std=(0.25,),
)


def test_manifests_of_other_inputs() -> None:
    """They come back; what is one picture of 8-bit pixels is named by its shape, as it was before there were others."""
    document = json.loads(VOLUME.canonical())
    assert document["input"] == {"kind": "volume", "shape": [4, 8, 6], "bits": 16, "window": [-1000.0, 400.0]}
    assert "input_shape" not in document
    assert Manifest.parse(VOLUME.canonical()) == VOLUME
    plain = json.loads(MANIFEST.canonical())
    assert plain["input_shape"] == [3, 8, 8]
    assert "input" not in plain


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"kind": "picture", "shape": [3, 8, 8], "bits": 8, "window": None}},
        {"input": {"kind": "volume", "shape": [4, 8, 6], "bits": 8}},
        {"input": {"kind": "volume", "shape": [4, 8, 6], "bits": 12, "window": None}},
        {"input": {"kind": "sound", "shape": [4, 8, 6], "bits": 8, "window": None}},
        {"input": {"kind": "volume", "shape": [4, 8, 6], "bits": 16, "window": [1]}},
        {"input": {"kind": "volume", "shape": [4, 8, 6], "bits": 16, "window": [5.0, 5.0]}},
        {"input": "volume"},
        {"input": None},
        {"input_shape": [4, 8, 6]},
        {"mean": [0.5, 0.5]},
    ],
)
def test_damaged_inputs_are_refused(change: dict) -> None:
    """Unknown kinds, other numbers of channels, two inputs, and one picture in the form of the others."""
    with pytest.raises(ModelFileError):
        Manifest.parse(_canonical({**json.loads(VOLUME.canonical()), **change}))


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"format":' + b"9" * 10_000 + b"}"])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    """No text, no object, one that is nested too deep, a number that is too long: a typed error."""
    with pytest.raises(ModelFileError):
        Manifest.parse(raw)


def test_a_manifest_has_one_form() -> None:
    """Signatures and pins are over its bytes: the same fields in another form are refused."""
    document = json.loads(MANIFEST.canonical())
    assert Manifest.parse(_canonical(document)) == MANIFEST
    twice = MANIFEST.canonical().replace(b'{"format":4', b'{"format":4,"format":4')
    for raw in (json.dumps(document).encode(), MANIFEST.canonical() + b"\n", twice):
        with pytest.raises(ModelFileError):
            Manifest.parse(raw)


def _canonical(document: dict) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@given(st.integers(0, 3 * CHUNK_BYTES))
def test_chunks_are_small_and_complete(size: int) -> None:
    """Pieces have at most a chunk's size and join to the whole."""
    payload = np.resize(np.arange(251, dtype=np.uint8), size).tobytes()
    pieces = [bytes(piece) for piece in chunks(payload)]
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert join_chunks(pieces, size) == payload


def test_wrong_lengths_are_refused_early() -> None:
    """More than announced stops at once; less is noticed at the end."""
    seen = []

    def endless() -> object:
        while True:
            seen.append(1)
            yield b"12345678"

    with pytest.raises(InputTooLarge):
        join_chunks(endless(), 20)
    assert len(seen) == 3
    with pytest.raises(InvalidShare):
        join_chunks([b"123"], 4)


def test_tensors_travel_exactly() -> None:
    """int64 extremes, and non-contiguous views, arrive as they were; a wrong length is refused."""
    codes = np.array([[-(2**63), 2**63 - 1, 0], [1, -1, 5]]).T
    assert (tensor(tensor_bytes(codes), (3, 2)) == codes).all()
    with pytest.raises(InvalidShare, match="48 bytes"):
        tensor(tensor_bytes(codes), (3, 3))


class FakeContext:
    """A servicer context that keeps what it was aborted with, and has a certificate."""

    def __init__(self, *names: str, valid: datetime.timedelta = datetime.timedelta(days=1)) -> None:
        self.names = names
        self.pem = Authority().certificate("any", ends=datetime.datetime.now(datetime.UTC) + valid)[0]
        self.status = None

    def abort_with_status(self, status: object) -> None:
        self.status = status
        raise ConnectionAbortedError

    def auth_context(self) -> dict:
        return {"peer_dns": [name.encode() for name in self.names], "x509_pem_cert": [self.pem]}


class FakeRpcError(grpc.RpcError):
    """A call that ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str = "", metadata: tuple = ()) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple:
        return self._metadata


def _all_errors(root: type[MpcvitError] = MpcvitError) -> list[type[MpcvitError]]:
    return [leaf for child in root.__subclasses__() for leaf in [child, *_all_errors(child)]]


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_survives_the_wire(kind: type[MpcvitError]) -> None:
    """Class, parts, origin and whether a new session may help arrive as they were raised; the status is a real one."""
    about = {"origin": "party1", "session_id": "ab" * 16, "phase": "online"}
    error = kind("what was got", expected="what was expected", remedy="Do this.", **about)
    context = FakeContext()
    with pytest.raises(ConnectionAbortedError):
        abort(context, error)
    status = context.status
    received = from_rpc_error(FakeRpcError(status.code, status.details, status.trailing_metadata), "party9")
    assert type(received) is kind
    assert str(received) == str(error)
    assert {name: getattr(received, name) for name in about} == about
    assert received.retry_after_s == error.retry_after_s
    assert received.retry_with_new_session is (kind.retry_after_s is not None)


def test_what_a_hostile_server_sends_as_an_error_is_still_a_typed_error() -> None:
    """Details that are no messages, a code that contradicts the call's, letters that steer a terminal."""
    context = FakeContext()
    with pytest.raises(ConnectionAbortedError):
        abort(context, NotAllowed("a\x1b[2Jb", expected="c", remedy="d", origin="party0"))
    code, ((key, value),) = context.status.code, context.status.trailing_metadata
    assert "\x1b" not in from_rpc_error(FakeRpcError(code, context.status.details, ((key, value),)), "party0").got
    garbage = value[:-4] + b"\xff\xff\xff\xff"
    for status, metadata in ((code, garbage), (code, b"\xff" * 40), (grpc.StatusCode.ABORTED, value)):
        error = from_rpc_error(FakeRpcError(status, "details", ((key, metadata),)), "party0")
        assert isinstance(error, MpcvitError)


def test_only_errors_that_pass_by_themselves_may_be_retried() -> None:
    """What a caller has to mend stays refused; who raises an error may say when a new session may help."""
    lasting = {
        "INVALID_INPUT",
        "MODEL_MISMATCH",
        "NOT_ALLOWED",
        "ANSWER_OUT_OF_RANGE",
        "PROTOCOL_VIOLATION",
        "INTERNAL",
    }
    passing = {"OVERLOADED", "QUOTA", "DRAINING", "MATERIAL_EXHAUSTED", "PEER_LOST", "DEALER_LOST", "SESSION_EXPIRED"}
    said = {kind.reason: kind.retry_after_s is not None for kind in _all_errors()}
    assert not any(said[reason] for reason in lasting)
    assert all(said[reason] for reason in passing)
    assert errors.MaterialExhausted("a", expected="b", remedy="c", retry_after_s=42.5).retry_after_s == 42.5
    assert errors.MaterialExhausted.retry_after_s != 42.5


def test_reasons_are_unique_and_documented() -> None:
    """Each class has a reason of its own, a docstring, and its place in the tree of the module's docstring."""
    kinds = _all_errors()
    assert len({kind.reason for kind in kinds}) == len(kinds)
    assert all(by_reason(kind.reason) is kind for kind in kinds)
    assert all(kind.__doc__ and kind.__name__ in (errors.__doc__ or "") for kind in kinds)
    assert not any(issubclass(kind, RuntimeError) for kind in kinds)
    assert by_reason("FROM_THE_FUTURE") is errors.InternalError


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "PEER_LOST"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "PEER_TIMEOUT"),
        (grpc.StatusCode.UNIMPLEMENTED, "VERSION_SKEW"),
        (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
    ],
)
def test_errors_of_grpc_itself_are_typed(code: grpc.StatusCode, reason: str) -> None:
    """What carries no details of ours is mapped by its status code."""
    error = from_rpc_error(FakeRpcError(code, "Socket closed\nmore"), "party0")
    assert error.reason == reason
    assert error.origin == "party0"


def test_errors_travel_short_and_plain() -> None:
    """What a caller sent and an error repeats is cut, without control characters, and still typed."""
    context = FakeContext()
    with pytest.raises(ConnectionAbortedError):
        abort(context, ModelMismatch("model '\x1b[31m\n" + "x" * 100_000, expected="é", remedy="z"))
    metadata = context.status.trailing_metadata
    assert sum(len(value) for _, value in metadata) < 8192
    rebuilt = from_rpc_error(FakeRpcError(context.status.code, context.status.details, metadata), "party0")
    assert isinstance(rebuilt, ModelMismatch)
    assert rebuilt.got.startswith("model '?[31m?xxx")
    assert rebuilt.got.endswith("x ..")
    assert rebuilt.expected == "é"


def test_roles_come_from_the_certificate() -> None:
    """Exactly one name in our domain; parties and clients are told apart."""
    assert caller_role(FakeContext("party1.mpcvit", "127.0.0.1")) == "party1"
    assert require_party(FakeContext("party12.mpcvit")) == 12
    assert require_client(FakeContext("alice.client.mpcvit")) == "alice.client"
    for names in ((), ("party0.example",), ("party0.mpcvit", "dealer.mpcvit")):
        with pytest.raises(NotAuthenticated):
            caller_role(FakeContext(*names))
    for name in ("dealer.mpcvit", "alice.client.mpcvit", "partyx.mpcvit", "party.mpcvit"):
        with pytest.raises(NotAllowed):
            require_party(FakeContext(name))
    for name in ("party01.mpcvit", "party-1.mpcvit", "party1.client.mpcvit", "Party1.mpcvit"):
        with pytest.raises(NotAllowed):
            require_party(FakeContext(name))
    for name in ("*.mpcvit", "*.client.mpcvit"):
        with pytest.raises(NotAuthenticated, match="wildcards"):
            caller_role(FakeContext(name))
    for name in ("dealer.mpcvit", "party0.mpcvit", "client.mpcvit", ".client.mpcvit"):
        with pytest.raises(NotAllowed):
            require_client(FakeContext(name))


def test_a_certificate_that_has_expired_ends_calls_on_a_connection_that_is_older() -> None:
    """The handshake was long ago."""
    hour = datetime.timedelta(hours=1)
    assert require_party(FakeContext("party1.mpcvit", valid=hour)) == 1
    with pytest.raises(NotAuthenticated, match="which expired on"):
        require_party(FakeContext("party1.mpcvit", valid=-hour))


def test_a_pinned_role_needs_its_key() -> None:
    """Any of the pinned ones; other roles are free."""
    context, other = FakeContext("party1.mpcvit"), "0" * 64
    pin = peer_certificate(context.pem).spki_sha256
    assert require_party(context, {"party1": [other, pin]}) == 1
    assert require_party(context, {"party0": [other]}) == 1
    with pytest.raises(NotAuthenticated, match="the pinned key 00000000"):
        require_party(context, {"party1": [other]})


def test_a_server_with_too_many_calls_is_overloaded() -> None:
    """gRPC's own word for it carries no reason of ours; taken for a lost peer it would end every session."""

    class TooMany(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return "Concurrent RPC limit exceeded!"

        def trailing_metadata(self) -> tuple[()]:
            return ()

    assert isinstance(from_rpc_error(TooMany(), "party1"), errors.Overloaded)
