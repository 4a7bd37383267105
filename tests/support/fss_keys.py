"""What the tests of mpcvit.fss share: fixed roots, points to try, digests, and statistics of bits."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.ring.prg import Prg

HASH = TreeHash.for_session(b"fss tests")
SIGMAS = 5.0  # seeds are fixed, so a test either always passes or never


def seed(number: int) -> bytes:
    """A reproducible 32-byte seed."""
    return number.to_bytes(32, "little")


def uniform(shape: tuple[int, ...], bits: int = 64, number: int = 1) -> Words:
    """Pseudo-random words below 2**bits; another ``number``, other words."""
    return Prg(seed(number)).stream("uniform").ring(shape).view(np.uint64) >> np.uint64(64 - bits)


def roots(count: int, number: int = 1) -> tuple[Words, Words]:
    """Root seeds of both parties."""
    prg = Prg(seed(number))
    first, second = (prg.stream("root", party).ring((count, 2)).view(np.uint64) for party in (0, 1))
    return first, second


def edge_points(alpha: Words, bits: int) -> Words:
    """Points at the ends of the domain and around alpha, and random ones: uint64[8, N]."""
    top = np.uint64(2**bits - 1)
    one = np.uint64(1)
    rows = [np.zeros_like(alpha), np.full_like(alpha, min(1, int(top))), np.full_like(alpha, top), alpha]
    rows += [alpha - np.minimum(alpha, one), np.minimum(alpha, top - one) + one]
    return np.concatenate([rows, uniform((2, alpha.size), bits, number=77)])


def edge_secrets(count: int, bits: int) -> Words:
    """Secrets: 0, 1, the largest two, then random."""
    alpha = uniform((count,), bits, number=78)
    alpha[:4] = [0, 1, 2**bits - 1, 2**bits - 2]
    return alpha


def digest(*arrays: npt.NDArray[np.generic]) -> str:
    """SHA-256 of the arrays' little-endian bytes, shortened to 16 digits."""
    joined = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(joined).hexdigest()[:16]


def bits_of(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """The bits of each element's words, [N, bits], of an array whose first axis counts elements."""
    flat = np.ascontiguousarray(array).reshape(array.shape[0], -1)
    return np.unpackbits(flat.view(np.uint8), axis=1)


def flip_each_bit(columns: Words) -> Words:
    """``columns`` is one element's words, [W], repeated as [W * 64, W] with another bit flipped in each row."""
    rows = np.repeat(columns[None], columns.size * 64, axis=0)
    for row in range(rows.shape[0]):
        rows[row, row // 64] ^= np.uint64(1) << np.uint64(row % 64)
    return rows


def assert_unbiased(bits: npt.NDArray[np.uint8]) -> None:
    """Each column of [N, columns] has as many ones as zeros, within 5 standard deviations."""
    deviation = np.abs(bits.mean(axis=0) - 0.5) * 2 * np.sqrt(bits.shape[0])
    assert deviation.max() < SIGMAS


def assert_alike(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> None:
    """Columns of two views have the same mean, within 5 standard deviations of their difference."""
    deviation = np.abs(left.mean(axis=0) - right.mean(axis=0)) * np.sqrt(2 * left.shape[0])
    assert deviation.max() < SIGMAS
