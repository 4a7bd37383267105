"""Connections of a process that runs for long: they follow its own TLS files, and trust a pinned key alone.

gRPC for Python takes keys and authorities when a channel is made, and cannot be asked for the certificate at its other
end. So a channel whose files have changed is replaced, as soon as the new one is connected; calls that run on the old
one end there. And where the other role's key is pinned, a plain handshake first finds out its certificate and checks
that against authority, role and pin; the channel then trusts this one certificate instead of the authority. Whatever
happens between the two handshakes, gRPC talks to nobody but the owner of the pinned key.
"""

from __future__ import annotations

import datetime
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mpcvit.errors import MpcvitError
from mpcvit.wire.own_certificate import SUFFIX
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.tls import OPTIONS, Pem
from mpcvit.wire.tls_probe import verified_certificate

log = logging.getLogger("mpcvit.channel")
#: Seconds between two looks for a pinned certificate while there is none or calls fail, and between two attempts to
#: connect anew.
_AGAIN_S = 1.0
#: Seconds that a new connection may take before the old one is kept.
_CONNECT_S = 5.0


class RoleChannel(grpc.Channel):  # type: ignore[misc]  # grpc has no annotations
    """A channel on which only a certificate of ``role`` is accepted, of the pinned key if one is pinned.

    Args:
        address: ``host:port``.
        own: who we are.
        role: who must be there, e.g. ``party0``.
        options: gRPC's.
        token: what to show with every call instead of a certificate, as it is now.
    """

    def __init__(
        self,
        address: str,
        own: OwnIdentity,
        role: str,
        options: Sequence[tuple[str, int]] = OPTIONS,
        *,
        token: Callable[[], str] | None = None,
    ) -> None:
        self._address, self._own, self._role, self._options, self._token = address, own, role, options, token
        self._pinned = role in own.files.pins
        self._lock = threading.Lock()
        self._pem: Pem | None = None
        self._roots = b""
        self._channel: grpc.Channel | None = None
        self._old: weakref.WeakSet[grpc.Channel] = weakref.WeakSet()
        self._looked, self._look_at, self._renew_at = 0.0, math.inf, 0.0
        self._renewing = self._closed = False

    def current(self) -> grpc.Channel:
        """Return the connection for a new call.

        Raises:
            ValueError: the channel is closed.
        """
        pem, now = self._own.value(), time.monotonic()
        with self._lock:
            if self._closed:
                raise ValueError("Cannot invoke RPC on closed channel!")  # as gRPC says it
            due = pem != self._pem or now >= self._look_at
            if due and (self._channel is None or self._roots == _nobody()):
                roots = self._find_roots(pem)
                self._take(self._make(pem, roots), pem, roots)
            elif due and not self._renewing and now >= self._renew_at:
                self._renewing, self._renew_at = True, now + _AGAIN_S
                threading.Thread(target=self._renew, args=(pem,), name="renew", daemon=True).start()
            return self._channel

    @property
    def hopeless(self) -> bool:
        """Whether no certificate with the pinned key was found yet, so that the connection can reach nobody."""
        return self._pinned and self._roots == _nobody()

    def failed(self, error: grpc.RpcError) -> None:
        """Note that a call ended with ``error``: the other side may have another certificate by now."""
        if self._pinned and error.code() is grpc.StatusCode.UNAVAILABLE:
            self._look_at = min(self._look_at, self._looked + _AGAIN_S)

    def _renew(self, pem: Pem) -> None:
        """Connect anew if anything has changed; calls begin on the old connection until that is done."""
        try:
            roots = self._find_roots(pem)
            if (pem, roots) == (self._pem, self._roots):
                return
            channel = self._make(pem, roots)
            try:
                grpc.channel_ready_future(channel).result(timeout=_CONNECT_S)
            except grpc.FutureTimeoutError:
                log.warning("no connection to %s with the files as they are now; the old one stays", self._role)
                channel.close()
                return
            with self._lock:
                self._take(channel, pem, roots)
                if self._closed:
                    channel.close()
        finally:
            self._renewing = False

    def _take(self, channel: grpc.Channel, pem: Pem, roots: bytes) -> None:
        """Begin new calls on another channel; the old one ends with its last call."""
        if self._channel is not None:
            self._old.add(self._channel)
        self._channel, self._pem, self._roots = channel, pem, roots

    def _find_roots(self, pem: Pem) -> bytes:
        """Return whom to trust: the authority; where a key is pinned, the server's certificate.

        While none was found, that is one which nobody has.
        """
        if not self._pinned:
            return pem.ca
        try:
            roots, wait_s = verified_certificate(self._address, self._own.files, self._role), self._own.files.reload_s
        except MpcvitError as error:
            log.warning("no pinned certificate of %s: %s", self._role, error)
            roots, wait_s = self._roots or _nobody(), _AGAIN_S
        self._looked = time.monotonic()
        self._look_at = self._looked + wait_s
        return roots

    def _make(self, pem: Pem, roots: bytes) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(roots, pem.key, pem.cert)
        if self._token is not None:
            bearer = grpc.metadata_call_credentials(_Bearer(self._token))
            credentials = grpc.composite_channel_credentials(credentials, bearer)
        override = [("grpc.ssl_target_name_override", self._role + SUFFIX)]
        return grpc.secure_channel(self._address, credentials, options=[*self._options, *override])

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        """Subscribe to the present connection's state."""
        self.current().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """End a subscription."""
        self.current().unsubscribe(callback)

    def unary_unary(self, *args: Any, **kwargs: Any) -> _Method:
        """Return a method of one request and one response."""
        return _Method(self, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> _Method:
        """Return a method of one request and many responses."""
        return _Method(self, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> _Method:
        """Return a method of many requests and one response."""
        return _Method(self, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> _Method:
        """Return a method of many requests and many responses."""
        return _Method(self, "stream_stream", args, kwargs)

    def close(self) -> None:
        """Close all connections, and end their calls."""
        with self._lock:
            self._closed = True
            channels = [*self._old, *([] if self._channel is None else [self._channel])]
        for channel in channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Method:
    """A method of a service, called over the connection of the moment."""

    def __init__(self, channel: RoleChannel, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._channel, self._kind, self._args, self._kwargs = channel, kind, args, kwargs
        self._bound: tuple[grpc.Channel, Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        method = self._now()
        if self._channel.hopeless:
            kwargs["wait_for_ready"] = False  # this connection never will be; the next call looks again
        try:
            return method(*args, **kwargs)
        except grpc.RpcError as error:
            self._channel.failed(error)
            raise

    def future(self, *args: Any, **kwargs: Any) -> Any:
        """Start the call and return at once."""
        return self._now().future(*args, **kwargs)

    def _now(self) -> Any:
        current, bound = self._channel.current(), self._bound
        if bound is None or bound[0] is not current:
            self._bound = bound = current, getattr(current, self._kind)(*self._args, **self._kwargs)
        return bound[1]


class _Bearer(grpc.AuthMetadataPlugin):  # type: ignore[misc]  # grpc has no annotations
    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        callback((("authorization", f"Bearer {self._token()}"),), None)


@cache
def _nobody() -> bytes:
    """Return a certificate whose key is forgotten at once: a channel that trusts it alone connects to nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
