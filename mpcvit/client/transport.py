"""How the client talks to one party; tests and tools may put another transport in its place."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import grpc

from mpcvit.client.own_tokens import OwnTokens
from mpcvit.client.settings import ClientSettings
from mpcvit.errors import MpcvitError, PeerLost, ProtocolViolation
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.codec import chunks, join_chunks, tensor, tensor_bytes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.role_channel import RoleChannel
from mpcvit.wire.stats import Stats
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import CLIENT_SUFFIX, PROMPT_OPTIONS, TlsFiles
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import inference_pb2, inference_pb2_grpc, session_pb2

#: Called with (phase, steps done, steps in all).
OnProgress = Callable[[str, int, int], None]
_LARGEST_RESULT = 1 << 20
#: Seconds that a party has to hear that a session is given up.
_CANCEL_S = 2.0
#: Seconds in which to find out why there is no connection; gRPC has tried for some already.
_PROBE_S = 1.0


@dataclass(frozen=True, repr=False)
class Submission:
    """One party's part of an inference: the public spec and this party's share (a seed, or the masked codes)."""

    spec: session_pb2.SessionSpec
    share: bytes | Codes


@dataclass(frozen=True)
class Offer:
    """A model as one party serves it.

    Attributes:
        signature: the owner's signature of the manifest; empty if the party has none.
    """

    manifest: Manifest
    signature: bytes = b""


class PartyTransport(ABC):
    """One party, as the client sees it. All methods raise :class:`MpcvitError` only; deadlines are monotonic times."""

    @abstractmethod
    def offers(self, deadline: float) -> list[Offer]:
        """Return the models that the party serves."""

    def manifests(self, deadline: float) -> list[Manifest]:
        """Return the manifests of :meth:`offers`."""
        return [offer.manifest for offer in self.offers(deadline)]

    @abstractmethod
    def submit(self, submission: Submission, deadline: float) -> None:
        """Hand in a share."""

    @abstractmethod
    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple[ResultShare, Stats]:
        """Wait for the party's share of the result."""

    @abstractmethod
    def cancel(self, session_id: bytes) -> None:
        """Give a session up: there, and a fetch that runs here ends. Returns at once, and never raises."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection."""


class GrpcParty(PartyTransport):
    """A party over gRPC and mutual TLS. Threads may share it.

    Args:
        address: ``host:port`` of the party's client listener.
        files: this client's TLS files.
        role: the role that the party's certificate must have, e.g. ``party0``.
        token: returns what to show instead of a certificate, as it is when called.
    """

    def __init__(self, address: str, files: TlsFiles, role: str, token: Callable[[], str] | None = None) -> None:
        self._address, self._files, self._role = address, files, role
        self._channel = RoleChannel(address, OwnIdentity(files), role, PROMPT_OPTIONS, token=token)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)
        self._fetches: dict[bytes, grpc.Future] = {}
        self._cancels: set[grpc.Future] = set()

    @property
    def role(self) -> str:
        """The party's role."""
        return self._role

    def offers(self, deadline: float) -> list[Offer]:
        try:
            request = inference_pb2.ListModelsRequest(protocol_version=PROTOCOL_VERSION)
            answer = self._stub.ListModels(request, timeout=_left(deadline))
        except grpc.RpcError as error:
            raise self._explain(error) from error
        signatures = answer.signatures or [b""] * len(answer.manifests)
        if len(signatures) != len(answer.manifests):
            raise ProtocolViolation(
                f"{len(signatures)} signatures of {len(answer.manifests)} manifests",
                expected="one of each, or none at all",
                remedy="Run the same version of mpcvit at all parties.",
                origin=self._role,
            )
        return [
            Offer(Manifest.parse(raw), signature) for raw, signature in zip(answer.manifests, signatures, strict=True)
        ]

    def submit(self, submission: Submission, deadline: float) -> None:
        try:
            self._stub.SubmitShare(_upload(submission), timeout=_left(deadline))
        except grpc.RpcError as error:
            raise self._explain(error) from error

    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple[ResultShare, Stats]:
        request = inference_pb2.FetchResultRequest(session_id=session_id)
        header: inference_pb2.ResultHeader | None = None
        pieces: list[bytes] = []
        received = 0
        call = self._stub.FetchResult(request, timeout=_left(deadline))
        self._fetches[session_id] = call
        try:
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
        finally:
            del self._fetches[session_id]
        if header is None or received > header.result_bytes or header.result_bytes > _LARGEST_RESULT:
            raise PeerLost(
                "a stream without a usable result",
                expected="a result header and its bytes",
                remedy="Retry; the client makes a new session.",
                origin=self._role,
            )
        raw = join_chunks(pieces, header.result_bytes)
        return ResultShare(tensor(raw, (len(raw) // 8,)), header.guard_digest), Stats.of_message(header.stats)

    def cancel(self, session_id: bytes) -> None:
        if (fetch := self._fetches.get(session_id)) is not None:
            fetch.cancel()
        request = inference_pb2.CancelSessionRequest(session_id=session_id)
        with suppress(ValueError):  # gRPC's word for a channel that is closed, and whose calls have ended with it
            sent = self._stub.CancelSession.future(request, timeout=_CANCEL_S)
            self._cancels.add(sent)
            sent.add_done_callback(self._cancels.discard)

    def close(self) -> None:
        for sent in list(self._cancels):
            sent.exception()  # or that there is none: they end by their deadline
        self._channel.close()

    def _explain(self, error: grpc.RpcError) -> MpcvitError:
        """Return the typed error; if gRPC only says that the party is unavailable, what a plain handshake finds out."""
        known = from_rpc_error(error, self._role)
        if error.code() is grpc.StatusCode.UNAVAILABLE and type(known) is PeerLost:
            return probe(self._address, self._files, self._role, _PROBE_S) or known
        return known


def grpc_parties(settings: ClientSettings) -> list[GrpcParty]:
    """Return the parties of a client's configuration.

    Raises:
        ConfigError: a file that it names cannot be used.
        NotAuthenticated: the own certificate is not a client's, not valid now, or from another authority.
    """
    files = settings.tls.files
    tokens = None if settings.token is None else OwnTokens(settings.token, len(settings.parties))
    if tokens is None:
        files.require_role(CLIENT_SUFFIX)
    return [
        GrpcParty(address, files, f"party{index}", None if tokens is None else tokens.of(index))
        for index, address in enumerate(settings.parties)
    ]


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
