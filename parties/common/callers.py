"""Who calls a server: a role by its certificate, or a client by its token."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from mpcvit.errors import NotAuthenticated
from mpcvit.wire.peer_certificate import Pins
from mpcvit.wire.tls import caller_role, require_client, require_party
from parties.common.tenants_file import AcceptedTokens
from parties.common.tokens import token_identity

_HEADER, _SCHEME = "authorization", "Bearer "


class Callers:
    """Tells callers from each other, with every call.

    Args:
        pins: keys that roles must have.
        party: the number of this party; tokens are for one party.
        tokens: which tokens are accepted now; None where none are.
    """

    def __init__(self, pins: Pins, party: int, tokens: Callable[[], AcceptedTokens | None]) -> None:
        self._pins, self._party, self._tokens = pins, party, tokens

    def anybody(self, context: grpc.ServicerContext) -> str:
        """Return who calls, whatever its role.

        Raises:
            NotAuthenticated: it shows neither a good certificate nor a good token.
        """
        return caller_role(context, self._pins) if _has_certificate(context) else self._by_token(context)

    def party(self, context: grpc.ServicerContext) -> int:
        """Return the number of the party that calls.

        Raises:
            NotAuthenticated, NotAllowed: it is none.
        """
        return require_party(context, self._pins)

    def client(self, context: grpc.ServicerContext) -> str:
        """Return the identity of the client that calls: by its certificate, or by its token if it has none.

        Raises:
            NotAuthenticated, NotAllowed: it is none.
        """
        return require_client(context, self._pins) if _has_certificate(context) else self._by_token(context)

    def _by_token(self, context: grpc.ServicerContext) -> str:
        tokens = self._tokens()
        shown = [value for name, value in context.invocation_metadata() if name == _HEADER]
        if tokens is None or len(shown) != 1 or not str(shown[0]).startswith(_SCHEME):
            raise NotAuthenticated(
                "a call without a certificate and without a token",
                expected="one token for this party" if tokens is not None else "a client's certificate",
                remedy="Give 'token', or 'tls.cert' and 'tls.key', in the client's configuration.",
            )
        return token_identity(str(shown[0]).removeprefix(_SCHEME), tokens, self._party)


def _has_certificate(context: grpc.ServicerContext) -> bool:
    return "x509_pem_cert" in context.auth_context()
