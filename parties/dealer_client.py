"""A party's side of the dealer: lease once, then corrections that arrive ahead of need."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import grpc

from mpcvit.errors import DealerLost, DealerTimeout, MpcvitError, PeerError, PeerTimeout
from mpcvit.session.material import MaterialSource
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles, secure_channel
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc


@dataclass(frozen=True, repr=False)
class Lease:
    """What the dealer reserved for one session.

    Attributes:
        request: what was asked for.
        lease_id: public, equal for all parties.
        seed: this party's.
        material_bytes: length of this party's material.
        plan_sha256: fast engine: digest of the dealer's plan.
    """

    request: dealer_pb2.LeaseMaterialRequest
    lease_id: bytes
    seed: bytes
    material_bytes: int
    plan_sha256: bytes


class DealerClient:
    """The connection to the dealer, shared by all sessions of a process."""

    def __init__(self, address: str, files: TlsFiles) -> None:
        self._address, self._files = address, files
        self._channel = secure_channel(address, files, "dealer")
        self._stub = dealer_pb2_grpc.DealerServiceStub(self._channel)

    def lease(self, request: dealer_pb2.LeaseMaterialRequest, timeout_s: float) -> Lease:
        """This party's lease.

        Raises:
            DealerLost, DealerTimeout: the dealer cannot be reached or does not answer.
            MpcvitError: it refuses, and says why.
        """
        try:
            answer = self._stub.LeaseMaterial(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return Lease(request, answer.lease_id, answer.seed, answer.material_bytes, answer.plan_sha256)

    def stream(self, lease: Lease, *, prefetch_bytes: int, op_s: float) -> StreamedMaterial:
        """The lease's material; starts to arrive at once."""
        call = None
        if lease.material_bytes:
            request = dealer_pb2.StreamMaterialRequest(material_id=lease.request.material_id)
            call = self._stub.StreamMaterial(request)
        return StreamedMaterial(lease, call, prefetch_bytes=prefetch_bytes, op_s=op_s, explain=self._explain)

    def store(self, lease: Lease, target: BinaryIO, timeout_s: float) -> None:
        """Write the lease's whole material to ``target``.

        Raises:
            DealerLost, DealerTimeout: the stream broke, stalled or has another length than announced.
        """
        request = dealer_pb2.StreamMaterialRequest(material_id=lease.request.material_id)
        received = 0
        try:
            for sequence, message in enumerate(self._stub.StreamMaterial(request, timeout=timeout_s)):
                received += len(message.payload)
                if message.sequence != sequence or received > lease.material_bytes:
                    break
                target.write(message.payload)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        if received != lease.material_bytes:
            raise DealerLost(
                f"{received} bytes of material",
                expected=f"{lease.material_bytes} bytes in order",
                remedy="Check that dealer and parties run the same version of mpcvit and hold the same program.",
                origin="dealer",
            )

    def redeal(
        self, lease: Lease, attempts: Mapping[str, int], ambiguous: Collection[str], timeout_s: float
    ) -> dict[str, bytes]:
        """Spare masks for ambiguous openings, and the material that depends on them, by step.

        Raises:
            DealerLost, DealerTimeout, MpcvitError: as for :meth:`lease`.
        """
        request = dealer_pb2.RedealMaterialRequest(
            lease=lease.request, lease_id=lease.lease_id, attempts=attempts, ambiguous=ambiguous
        )
        dealt: dict[str, bytearray] = {}
        try:
            for message in self._stub.RedealMaterial(request, timeout=timeout_s):
                dealt.setdefault(message.step, bytearray()).extend(message.payload)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return {step: bytes(sent) for step, sent in dealt.items()}

    def weight_mask_seed(self, request: dealer_pb2.LeaseWeightMaskRequest, timeout_s: float) -> bytes:
        """This party's seed of a weight mask.

        Raises:
            DealerLost, DealerTimeout, MpcvitError: as for :meth:`lease`.
        """
        try:
            seed: bytes = self._stub.LeaseWeightMask(request, timeout=timeout_s).seed
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return seed

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _explain(self, error: grpc.RpcError) -> MpcvitError:
        known = from_rpc_error(error, "dealer")
        if isinstance(known, PeerTimeout):
            return DealerTimeout(known.got, expected=known.expected, remedy=known.remedy, origin="dealer")
        if isinstance(known, PeerError):
            cause = probe(self._address, self._files, "dealer") or known
            return DealerLost(cause.got, expected=cause.expected, remedy=cause.remedy, origin="dealer")
        return known


class StreamedMaterial(MaterialSource):
    """Corrections that a background thread receives into a bounded buffer.

    Attributes:
        received: bytes that came so far.
        wait_s: seconds that :meth:`read` blocked.
    """

    def __init__(
        self,
        lease: Lease,
        call: Any,
        *,
        prefetch_bytes: int,
        op_s: float,
        explain: Callable[[grpc.RpcError], MpcvitError],
    ) -> None:
        self._lease = lease
        self._call = call
        self._explain = explain
        self._prefetch = prefetch_bytes
        self._op_s = op_s
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._buffered = 0
        self._wanted = 0
        self._error: MpcvitError | None = None
        self._closed = False
        self.received = 0
        self.wait_s = 0.0
        if call is not None:
            threading.Thread(target=self._receive, name="material", daemon=True).start()

    @property
    def seed(self) -> bytes:
        return self._lease.seed

    def wait_ready(self, timeout_s: float) -> None:
        """Block until everything has come or the buffer is full.

        Raises:
            DealerLost, DealerTimeout: as for :meth:`read`.
        """
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._error or self._complete or self._buffered >= self._prefetch, timeout_s
            )
        if self._error:
            raise self._error
        if not ready:
            raise self._too_slow(timeout_s)

    def read(self, count: int) -> memoryview:
        start = time.perf_counter()
        with self._changed:
            self._wanted = count
            self._changed.notify_all()
            ready = self._changed.wait_for(lambda: self._error or self._buffered >= count or self._complete, self._op_s)
            self.wait_s += time.perf_counter() - start
            if self._error:
                raise self._error
            if not ready:
                raise self._too_slow(self._op_s)
            if self._buffered < count:
                raise self._short(count)
            taken = self._take(count)
            self._buffered -= count
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Stop receiving; the rest of the material is lost, as it must be."""
        with self._changed:
            self._closed = True
            self._pieces.clear()
            self._changed.notify_all()
        if self._call is not None:
            self._call.cancel()

    @property
    def _complete(self) -> bool:
        return self.received >= self._lease.material_bytes

    def _take(self, count: int) -> memoryview:
        """The first ``count`` buffered bytes, without copying when they lie in one piece."""
        if not count:
            return memoryview(b"")
        first = self._pieces[0]
        if len(first) > count:
            self._pieces[0] = first[count:]
            return first[:count]
        parts, missing = [], count
        while missing:
            piece = self._pieces.popleft()
            parts.append(piece[:missing])
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
            missing -= len(parts[-1])
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def _receive(self) -> None:
        """Background thread: move messages into the buffer while it has room."""
        try:
            for expected, message in enumerate(self._call):
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._buffered < max(self._prefetch, self._wanted))
                    if self._closed:
                        return
                    if message.sequence != expected:
                        raise DealerLost(
                            f"piece {message.sequence} of the material",
                            expected=f"piece {expected}",
                            remedy="Retry; the client makes a new session.",
                            origin="dealer",
                        )
                    self._pieces.append(memoryview(message.payload))
                    self._buffered += len(message.payload)
                    self.received += len(message.payload)
                    self._changed.notify_all()
            if not self._complete:
                raise self._short(self._lease.material_bytes)
        except grpc.RpcError as error:
            self._fail(self._explain(error))
        except MpcvitError as error:
            self._fail(error)

    def _fail(self, error: MpcvitError) -> None:
        with self._changed:
            if not self._closed:
                self._error = error
            self._changed.notify_all()

    def _short(self, expected: int) -> DealerLost:
        return DealerLost(
            f"the end of the material after {self.received} bytes",
            expected=f"{expected} bytes",
            remedy="Check that dealer and parties run the same version of mpcvit and hold the same program.",
            origin="dealer",
        )

    def _too_slow(self, seconds: float) -> DealerTimeout:
        return DealerTimeout(
            f"{self.received} of {self._lease.material_bytes} bytes of material in {seconds:g} s",
            expected="material ahead of need",
            remedy="Give the dealer more CPU or bandwidth, or raise 'timeouts'.",
            origin="dealer",
        )
