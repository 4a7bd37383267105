"""The hash that grows every tree: AES-128 under a fixed public key, with feed-forward.

H(b) = AES_K(b) xor b (Matyas-Meyer-Oseas; Guo, Katz, Wang, Yu, "Efficient and Secure Multiparty Computation from
Fixed-Key Block Ciphers", IEEE S&P 2020: correlation robust for a random permutation). K is public and
derived from the session id, so that work against one session does not help against another.

Inputs of H are kept apart by the low bits of word 0 of a block. A seed has bits 0 and 1 cleared. Then

    H(seed)                 left child, or the 128-bit leaf where a tree ends early
    H(seed xor 1)           right child
    H(seed xor (j << 2))    value block j = 1, 2, ..: two ring words each

Of a child block, bit 0 is its control bit, bits 0 and 1 are then cleared, and the rest is its seed. In correction words
the same two bits carry the control corrections of the left (bit 0) and the right (bit 1) child.
"""

from __future__ import annotations

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss.checks import Words

KEY_BYTES = 16
SEED_BITS = np.uint64(0xFFFF_FFFF_FFFF_FFFC)  # of word 0
_DOMAIN = b"mpcvit/fss/tree-hash/v1"


def block_buffer(count: int) -> Words:
    """Return room for ``count`` output blocks of a :class:`Permutation`, uint64[count + 1, 2].

    The last block is spare.
    """
    return np.empty((count + 1, 2), dtype=np.uint64)


class Permutation:
    """AES_K on batches of blocks, without feed-forward: kernels add that while they read. For one thread."""

    __slots__ = ("_update",)

    def __init__(self, key: bytes) -> None:
        # ECB of distinct, pseudo-random blocks: the permutation itself is wanted
        self._update = Cipher(AES128(key), ECB()).encryptor().update_into  # noqa: S305

    def __call__(self, blocks: Words, out: Words) -> None:
        """Write AES_K of each block of ``blocks`` (C-contiguous, [..., 2]) to the start of ``out``.

        ``out`` is C-contiguous, has at least 15 bytes to spare and does not overlap ``blocks``.
        """
        self._update(blocks.reshape(-1).view(np.uint8).data, out.reshape(-1).view(np.uint8).data)


class TreeHash:
    """H under one public key. Immutable: threads may share it.

    Args:
        key: 16 bytes, public.

    Raises:
        InputError: the key is not 16 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError(
                f"a hash key of {len(key)} bytes",
                expected=f"{KEY_BYTES} bytes",
                remedy="Use TreeHash.for_session(session_id).",
            )
        self._key = bytes(key)

    @classmethod
    def for_session(cls, session_id: bytes) -> TreeHash:
        """Return the hash of a session: its key is SHA-256 of a domain string and the id, cut to 16 bytes.

        Raises:
            InputError: the id is empty; then all sessions would share one key.
        """
        if not session_id:
            raise InputError("an empty session id", expected="a unique id", remedy="Pass the session's id.")
        return cls(hashlib.sha256(_DOMAIN + session_id).digest()[:KEY_BYTES])

    def permutation(self) -> Permutation:
        """Return a fresh AES context (5 us).

        Each batched call makes its own, as one context must not serve two threads.
        """
        return Permutation(self._key)

    def __call__(self, blocks: Words, out: Words | None = None) -> Words:
        """Return H of each block: uint64[..., 2], in ``out`` if given.

        Raises:
            ShapeMismatch: ``blocks`` is not uint64[..., 2], or ``out`` has another shape.
        """
        if blocks.dtype != np.uint64 or blocks.shape[-1:] != (2,):
            raise ShapeMismatch(
                f"blocks as {blocks.dtype}{list(blocks.shape)}",
                expected="uint64[..., 2]",
                remedy="Pass 128-bit blocks as two words each.",
            )
        hashed = block_buffer(blocks.size // 2)
        self.permutation()(np.ascontiguousarray(blocks), hashed)
        if out is None:
            out = np.empty_like(blocks)
        elif out.shape != blocks.shape or out.dtype != np.uint64:
            raise ShapeMismatch(
                f"out as {out.dtype}{list(out.shape)}",
                expected=f"uint64{list(blocks.shape)}",
                remedy="Give out the shape of the blocks.",
            )
        np.bitwise_xor(hashed[:-1].reshape(blocks.shape), blocks, out=out)
        return out
