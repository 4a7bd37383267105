"""Short-lived signed tokens (JWT, EdDSA) in the place of a client's certificate.

Whoever has a token can show it. So each party gets a token of its own, whose audience is that party alone. What a
client shows to party 0 is worth nothing at party 1, where somebody could fetch the client's other share with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mpcvit.errors import NotAuthenticated
from parties.common.tenants_file import AcceptedTokens, public_key

ALGORITHM = "EdDSA"
_CLAIMS = ["iss", "sub", "aud", "iat", "exp"]
_LEEWAY_S = 5.0
_LONGEST_TOKEN = 4096
_SUBJECT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


def audience(deployment: str, party: int) -> str:
    """Return whom a token for ``party`` is for."""
    return f"{deployment}/party{party}"


def issue(
    key: Ed25519PrivateKey, *, issuer: str, subject: str, deployment: str, parties: int, valid_s: float, now: float
) -> list[str]:
    """Return a token for every party, party 0 first.

    Args:
        key: the issuer's.
        issuer: its name under ``tokens.issuers``.
        subject: the client, letters and digits with ``.``, ``_`` and ``-`` in between.
        deployment: the parties' ``tokens.audience``.
        valid_s: seconds from ``now``, in seconds of Unix time.
    """
    claims = {"iss": issuer, "sub": subject, "iat": int(now), "exp": int(now + valid_s)}
    return [
        jwt.encode({**claims, "aud": audience(deployment, party)}, key, algorithm=ALGORITHM) for party in range(parties)
    ]


def token_identity(token: str, tokens: AcceptedTokens, party: int) -> str:
    """Return who shows ``token`` to ``party``: ``<subject>@<issuer>``. Nothing of a refused token is repeated.

    Raises:
        NotAuthenticated: no accepted issuer signed it, it is for another party, not valid now, or valid for too long.
    """
    if len(token) > _LONGEST_TOKEN:
        raise _refused(f"a token of {len(token)} letters")
    for name, issuer in tokens.issuers.items():
        if (claims := _claims(token, name, issuer.keys, audience(tokens.audience, party))) is not None:
            break
    else:
        raise _refused("a token that no accepted issuer has signed")
    if claims["exp"] - claims["iat"] > tokens.longest_s:
        raise _refused(f"a token that is valid for more than {tokens.longest_s:g} s")
    if not _SUBJECT.fullmatch(claims["sub"]):
        raise _refused("a token about a subject that is no name")
    return f"{claims['sub']}@{name}"


def _claims(token: str, issuer: str, keys: Sequence[str], own: str) -> dict[str, Any] | None:
    """Return what a token says; None if none of the keys has signed it."""
    for key in keys:
        try:
            return jwt.decode(
                token,
                public_key(key),
                algorithms=[ALGORITHM],
                issuer=issuer,
                audience=own,
                leeway=_LEEWAY_S,
                options={"require": _CLAIMS, "strict_aud": True},
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError as error:
            raise _refused("a token that has expired") from error
        except jwt.InvalidAudienceError as error:
            raise _refused("a token for another audience") from error
        except jwt.InvalidTokenError as error:
            raise _refused(f"a token with {type(error).__name__}") from error
    return None


def _refused(got: str) -> NotAuthenticated:
    return NotAuthenticated(
        got,
        expected="a token for this party from an accepted issuer, valid now",
        remedy="Ask the issuer for new tokens, one for each party ('mpcvit token issue'), and check the clocks.",
    )
