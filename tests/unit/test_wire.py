"""Manifests, chunks, errors over gRPC, roles."""

from __future__ import annotations

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
    MpcvitError,
    NotAllowed,
    NotAuthenticated,
    by_reason,
)
from mpcvit.ring.qtype import QType
from mpcvit.wire.codec import CHUNK_BYTES, chunks, join_chunks, tensor, tensor_bytes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.status import abort, from_rpc_error
from mpcvit.wire.tls import caller_role, require_client, require_party

MANIFEST = Manifest(
    name="tiny",
    version="1",
    program_sha256="ab" * 32,
    share_set="cd" * 16,
    parties=2,
    input_shape=(3, 8, 8),
    input_type=QType(frac=12, lo=-4, hi=4),
    output_frac=12,
    labels=("a", "b", "c"),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


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
    "change", [{"format": 1}, {"format": 3}, {"extra": 1}, {"labels": None}, {"input_type": {"frac": 1}}]
)
def test_damaged_manifests_are_refused(change: dict) -> None:
    """Other versions, unknown, missing and wrong fields are typed errors."""
    document = {**json.loads(MANIFEST.canonical()), **change}
    with pytest.raises(ModelFileError):
        Manifest.parse(json.dumps(document).encode())
    with pytest.raises(ModelFileError):
        Manifest.parse(b"[]")


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

    def __init__(self, *names: str) -> None:
        self.names = names
        self.status = None

    def abort_with_status(self, status: object) -> None:
        self.status = status
        raise ConnectionAbortedError

    def auth_context(self) -> dict:
        return {"x509_subject_alternative_name": [name.encode() for name in self.names]}


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
    """Class, parts of the message and origin arrive as they were raised; the status code is a real one."""
    error = kind("what was got", expected="what was expected", remedy="Do this.", origin="party1")
    context = FakeContext()
    with pytest.raises(ConnectionAbortedError):
        abort(context, error)
    status = context.status
    received = from_rpc_error(FakeRpcError(status.code, status.details, status.trailing_metadata), "party9")
    assert type(received) is kind
    assert str(received) == str(error)
    assert received.origin == "party1"


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
    for name in ("dealer.mpcvit", "party0.mpcvit", "client.mpcvit"):
        with pytest.raises(NotAllowed):
            require_client(FakeContext(name))
