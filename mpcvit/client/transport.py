"""How the client talks to one party; tests and tools may put another transport in its place."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

from mpcvit.client.result import Stats
from mpcvit.errors import MpcvitError, PeerLost
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.codec import chunks, join_chunks, tensor, tensor_bytes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles, secure_channel
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import inference_pb2, inference_pb2_grpc, session_pb2

#: Called with (phase, steps done, steps in all).
OnProgress = Callable[[str, int, int], None]
_LARGEST_RESULT = 1 << 20


@dataclass(frozen=True, repr=False)
class Submission:
    """One party's part of an inference: the public spec and this party's share (a seed, or the masked codes)."""

    spec: session_pb2.SessionSpec
    share: bytes | Codes


class PartyTransport(ABC):
    """One party, as the client sees it. All methods raise :class:`MpcvitError` only; deadlines are monotonic times."""

    @abstractmethod
    def manifests(self, deadline: float) -> list[Manifest]:
        """The models that the party serves."""

    @abstractmethod
    def submit(self, submission: Submission, deadline: float) -> None:
        """Hand in a share."""

    @abstractmethod
    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple[Codes, Stats]:
        """Wait for the party's share of the result."""

    @abstractmethod
    def cancel(self, session_id: bytes) -> None:
        """Give a session up; never raises."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection."""


class GrpcParty(PartyTransport):
    """A party over gRPC and mutual TLS.

    Args:
        address: ``host:port`` of the party's client listener.
        files: this client's TLS files.
        role: the role that the party's certificate must have, e.g. ``party0``.
    """

    def __init__(self, address: str, files: TlsFiles, role: str) -> None:
        self._address, self._files, self._role = address, files, role
        self._channel = secure_channel(address, files, role)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    def manifests(self, deadline: float) -> list[Manifest]:
        try:
            answer = self._stub.ListModels(inference_pb2.ListModelsRequest(), timeout=_left(deadline))
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return [Manifest.parse(raw) for raw in answer.manifests]

    def submit(self, submission: Submission, deadline: float) -> None:
        try:
            self._stub.SubmitShare(_upload(submission), timeout=_left(deadline))
        except grpc.RpcError as error:
            raise self._explain(error) from error

    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple[Codes, Stats]:
        request = inference_pb2.FetchResultRequest(session_id=session_id)
        header: inference_pb2.ResultHeader | None = None
        pieces: list[bytes] = []
        received = 0
        try:
            call = self._stub.FetchResult(request, timeout=_left(deadline))
            for response in call:
                event = response.WhichOneof("event")
                if event == "progress":
                    progress(response.progress.phase, response.progress.done, response.progress.total)
                elif event == "header":
                    header = response.header
                elif header is not None:
                    received += len(response.chunk)
                    if received > min(header.result_bytes, _LARGEST_RESULT):
                        call.cancel()
                        break
                    pieces.append(response.chunk)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        if header is None or received > header.result_bytes or header.result_bytes > _LARGEST_RESULT:
            raise PeerLost(
                "a stream without a usable result",
                expected="a result header and its bytes",
                remedy="Retry; the client makes a new session.",
                origin=self._role,
            )
        raw = join_chunks(pieces, header.result_bytes)
        return tensor(raw, (len(raw) // 8,)), _stats(header.stats)

    def cancel(self, session_id: bytes) -> None:
        try:
            self._stub.CancelSession(inference_pb2.CancelSessionRequest(session_id=session_id), timeout=2)
        except grpc.RpcError:
            return

    def close(self) -> None:
        self._channel.close()

    def _explain(self, error: grpc.RpcError) -> MpcvitError:
        """The typed error; if gRPC only says that the party is unavailable, what a plain handshake finds out."""
        known = from_rpc_error(error, self._role)
        if error.code() is grpc.StatusCode.UNAVAILABLE and type(known) is PeerLost:
            return probe(self._address, self._files, self._role) or known
        return known


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _upload(submission: Submission) -> Iterator[inference_pb2.SubmitShareRequest]:
    if isinstance(submission.share, bytes):
        header = inference_pb2.ShareHeader(spec=submission.spec, seed=submission.share)
        yield inference_pb2.SubmitShareRequest(header=header)
        return
    raw = tensor_bytes(submission.share)
    header = inference_pb2.ShareHeader(spec=submission.spec, masked_bytes=len(raw))
    yield inference_pb2.SubmitShareRequest(header=header)
    for piece in chunks(raw):
        yield inference_pb2.SubmitShareRequest(chunk=bytes(piece))


def _stats(message: inference_pb2.SessionStats) -> Stats:
    return Stats(
        message.offline_s,
        message.online_s,
        message.peer_wait_s,
        message.material_wait_s,
        message.rounds,
        message.bytes_sent,
        message.material_bytes,
    )
