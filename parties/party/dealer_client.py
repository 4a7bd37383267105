"""A party's side of the dealer: lease once, then corrections that arrive ahead of need."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from mpcvit.engines.crypten.material import MaterialSource
from mpcvit.errors import DealerLost, DealerTimeout, MpcvitError, PeerError, PeerTimeout
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.role_channel import RoleChannel
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import PROMPT_OPTIONS
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc
from parties.common.audit import AuditLog
from parties.common.deadline import Stall
from parties.common.failure import fresh
from parties.common.ledger import Ledger
from parties.common.settings import Timeouts
from parties.common.version import require_version
from parties.party.liveness import Monitor

#: Seconds after which somebody who waits looks again whether there is still a reason to.
_LOOK_S = 0.25


class MaterialSink(Protocol):
    """Where material is written to."""

    def write(self, piece: bytes, /) -> int:
        """Append ``piece``; return its length."""


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
    """The connection to the dealer, shared by all sessions of a process.

    Args:
        name: what this process calls it: ``dealer``, or ``dealer1`` and so on for those that take over.
        ledger: of this process; the dealer remembers how much material it says is used.
        audit: notes how far the dealer's audit log is.
        received: told how many bytes of material have come.

    Attributes:
        monitor: the dealer's signs of life.
    """

    def __init__(
        self,
        name: str,
        address: str,
        own: OwnIdentity,
        timeouts: Timeouts,
        ledger: Ledger,
        audit: AuditLog,
        received: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.name = name
        self._address, self._files, self._timeouts = address, own.files, timeouts
        self._ledger, self._audit, self._received = ledger, audit, received
        self._channel = RoleChannel(address, own, "dealer")
        self._stub = dealer_pb2_grpc.DealerServiceStub(self._channel)
        # a connection of its own: material would delay signs of life on a slow link
        options = [*PROMPT_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self._check_channel = RoleChannel(address, own, "dealer", options)
        self._check_stub = dealer_pb2_grpc.DealerServiceStub(self._check_channel)
        self.monitor = Monitor(
            name, self.check, stall_s=timeouts.stall_s, start_s=timeouts.pair_s, on_loss=lambda error: None
        )

    def check(self, timeout_s: float) -> None:
        """Ask for a sign of life, and compare the dealer's ledger with what is known of it.

        Raises:
            DealerLost, DealerTimeout: there is none.
            LedgerRolledBack: the dealer's ledger is older than before, or another one.
            LedgerUnavailable: a ledger cannot be read or written.
            VersionSkew: the dealer speaks another version's protocol.
        """
        request = dealer_pb2.CheckDealerRequest(protocol_version=PROTOCOL_VERSION)
        try:
            answer = self._check_stub.CheckDealer(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        require_version(answer.protocol_version, "dealer")
        self._ledger.remember(self.name, answer.ledger)
        self._audit.witness(self.name, answer.audit)

    def lease(self, request: dealer_pb2.LeaseMaterialRequest) -> Lease:
        """Return this party's lease.

        The dealer sees no mark but here: it must not learn how many sessions there are, nor when they run.

        Raises:
            DealerLost, DealerTimeout: the dealer cannot be reached or does not answer.
            MpcvitError: it refuses, and says why.
        """
        request.ledger.CopyFrom(self._ledger.mark(material=True))
        try:
            call = self._stub.LeaseMaterial.future(request, timeout=self._timeouts.op_s, wait_for_ready=True)
            answer = self._while_there(call)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return Lease(request, answer.lease_id, answer.seed, answer.material_bytes, answer.plan_sha256)

    def stream(self, lease: Lease, *, prefetch_bytes: int, op_s: float) -> StreamedMaterial:
        """Return the lease's material; starts to arrive at once."""
        call = None
        if lease.material_bytes:
            request = dealer_pb2.StreamMaterialRequest(material_id=lease.request.material_id)
            call = self._stub.StreamMaterial(request)
        return StreamedMaterial(
            lease, call, prefetch_bytes=prefetch_bytes, op_s=op_s, explain=self._explain, count=self._received
        )

    def release(self, material_id: bytes) -> None:
        """Give a lease up, if the dealer hears of it; nobody waits for that, and the dealer ends leases by itself."""
        with suppress(grpc.RpcError, ValueError):  # ValueError is gRPC's word for a closed channel
            self._stub.ReleaseMaterial.future(
                dealer_pb2.ReleaseMaterialRequest(material_id=material_id), timeout=self._timeouts.op_s
            )

    def store(self, lease: Lease, target: MaterialSink, wanted: Callable[[], object] = lambda: None) -> None:
        """Write the lease's whole material to ``target``. It may take long, but must not stall.

        Args:
            wanted: called with every piece; raises if the material is not needed any more.

        Raises:
            DealerLost, DealerTimeout: the stream broke, stalled or has another length than announced.
            MpcvitError: what ``wanted`` raises.
        """
        call = self._stub.StreamMaterial(dealer_pb2.StreamMaterialRequest(material_id=lease.request.material_id))
        received = 0
        try:
            with Stall(call.cancel, self._timeouts.op_s) as stall:
                for sequence, message in enumerate(call):
                    stall.moved()
                    wanted()
                    received += len(message.payload)
                    if message.sequence != sequence or received > lease.material_bytes:
                        break
                    target.write(message.payload)
        except grpc.RpcError as error:
            if stall.stalled:
                raise _too_slow(received, lease, self._timeouts.op_s) from error
            raise self._explain(error) from error
        finally:
            call.cancel()
            self._received(received)
        if received != lease.material_bytes:
            raise DealerLost(
                f"{received} bytes of material",
                expected=f"{lease.material_bytes} bytes in order",
                remedy="Check that dealer and parties run the same version of mpcvit and hold the same program.",
                origin="dealer",
            )

    def weight_mask_seed(self, request: dealer_pb2.LeaseWeightMaskRequest) -> bytes:
        """Return this party's seed of a weight mask.

        Raises:
            DealerLost, DealerTimeout, MpcvitError: as for :meth:`lease`.
        """
        try:
            call = self._stub.LeaseWeightMask.future(request, timeout=self._timeouts.op_s, wait_for_ready=True)
            answer = self._while_there(call)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return bytes(answer.seed)

    def close(self) -> None:
        """Close the connections."""
        self.monitor.close()
        self._channel.close()
        self._check_channel.close()

    def _while_there(self, call: grpc.Future) -> Any:
        """Return the answer of a call, unless the dealer is lost meanwhile."""
        while True:
            try:
                return call.result(timeout=_LOOK_S)
            except grpc.FutureTimeoutError:
                if (lost := self.monitor.lost) is not None:
                    call.cancel()
                    raise lost from None

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
        count: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._lease = lease
        self._call = call
        self._explain, self._count = explain, count
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

    def wait_ready(self, timeout_s: float, wanted: Callable[[], None] = lambda: None) -> None:
        """Block until everything has come or the buffer is full.

        Args:
            wanted: called now and then; raises if nobody needs the material any more.

        Raises:
            MpcvitError: what ``wanted`` raises.
            DealerLost, DealerTimeout: as for :meth:`read`.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            while not self._changed.wait_for(
                lambda: self._error or self._complete or self._buffered >= self._prefetch, _LOOK_S
            ):
                wanted()
                if time.monotonic() > end:
                    raise self._too_slow(timeout_s)
        if self._error:
            raise fresh(self._error)

    def read(self, count: int) -> memoryview:
        start = time.perf_counter()
        with self._changed:
            self._wanted = count
            self._changed.notify_all()
            ready = self._changed.wait_for(lambda: self._error or self._buffered >= count or self._complete, self._op_s)
            self.wait_s += time.perf_counter() - start
            if self._error:
                raise fresh(self._error)
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
        """Return the first ``count`` buffered bytes, without copying when they lie in one piece."""
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
        """Move messages, in a background thread, into the buffer while it has room."""
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
                    self._count(len(message.payload))
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
        return _too_slow(self.received, self._lease, seconds)


def _too_slow(received: int, lease: Lease, seconds: float) -> DealerTimeout:
    return DealerTimeout(
        f"{received} of {lease.material_bytes} bytes of material, and no more for {seconds:g} s",
        expected="material ahead of need",
        remedy="Give the dealer more CPU or bandwidth, or raise 'timeouts'.",
        origin="dealer",
    )
