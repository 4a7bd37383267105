"""Digests by which two parties show that they hold the same words, and nothing else of them."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from mpcvit.fss.checks import Words

DIGEST_BYTES = 32


class WordDigest:
    """HMAC-SHA-256 under a key that only the parties know, so that a digest says nothing but whether another equals it.

    Args:
        common: the parties' common seed of this run.
        purpose: what the digests are for; digests of two purposes have nothing in common.
    """

    def __init__(self, common: bytes, purpose: str) -> None:
        self._key = hmac.digest(common, f"mpcvit/{purpose}/v1".encode(), hashlib.sha256)

    def of(self, name: str, words: Words) -> bytes:
        """Return the 32-byte digest of the words called ``name``."""
        state = hmac.new(self._key, f"{name}\0".encode(), hashlib.sha256)
        state.update(np.ascontiguousarray(words).data.cast("B"))
        return state.digest()

    def of_all(self, digests: list[bytes]) -> bytes:
        """Return one 32-byte digest of several."""
        return hmac.digest(self._key, b"".join(digests), hashlib.sha256)
