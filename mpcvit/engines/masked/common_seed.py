"""The seed that the two parties of a session have in common, and nobody else: neither the dealer nor the client."""

from __future__ import annotations

import hashlib
import hmac

_DOMAIN = b"mpcvit/common/v1"


def common_seed(binding: bytes, halves: tuple[bytes, bytes]) -> bytes:
    """Return the 32-byte seed of one session: HMAC-SHA-256 under both halves, of the session's binding.

    Args:
        binding: what the parties compared in the set-up round, 32 bytes.
        halves: 32 fresh random bytes of party 0 and of party 1. One random half is enough.
    """
    return hmac.digest(b"".join(halves), _DOMAIN + binding, hashlib.sha256)
