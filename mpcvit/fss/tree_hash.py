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

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss.aes import encrypt_blocks, round_keys
from mpcvit.fss.checks import Words
from mpcvit.fss.lanes import WORDS

KEY_BYTES = 16
SEED_BITS = np.uint64(0xFFFF_FFFF_FFFF_FFFC)  # of word 0
_DOMAIN = b"mpcvit/fss/tree-hash/v1"


class TreeHash:
    """H under one public key. Immutable: threads may share it.

    Args:
        key: 16 bytes, public.

    Attributes:
        round_keys: for :mod:`mpcvit.fss.aes`.

    Raises:
        InputError: the key is not 16 bytes.
    """

    __slots__ = ("round_keys",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError(
                f"a hash key of {len(key)} bytes",
                expected=f"{KEY_BYTES} bytes",
                remedy="Use TreeHash.for_session(session_id).",
            )
        self.round_keys = round_keys(np.frombuffer(key, dtype=np.uint64))

    @classmethod
    def for_session(cls, session_id: bytes) -> TreeHash:
        """Return the hash of a session: its key is SHA-256 of a domain string and the id, cut to 16 bytes.

        Raises:
            InputError: the id is empty; then all sessions would share one key.
        """
        if not session_id:
            raise InputError("an empty session id", expected="a unique id", remedy="Pass the session's id.")
        return cls(hashlib.sha256(_DOMAIN + session_id).digest()[:KEY_BYTES])

    def __call__(self, blocks: Words) -> Words:
        """Return H of each block: uint64[..., 2].

        Raises:
            ShapeMismatch: ``blocks`` is not uint64[..., 2].
        """
        if blocks.dtype != np.uint64 or blocks.shape[-1:] != (2,):
            raise ShapeMismatch(
                f"blocks as {blocks.dtype}{list(blocks.shape)}",
                expected="uint64[..., 2]",
                remedy="Pass 128-bit blocks as two words each.",
            )
        inputs = np.zeros(max(blocks.size, WORDS), dtype=np.uint64)
        inputs[: blocks.size] = blocks.reshape(-1)
        encrypted = np.empty_like(inputs)
        encrypt_blocks(self.round_keys, inputs, encrypted)
        return (encrypted ^ inputs)[: blocks.size].reshape(blocks.shape)
