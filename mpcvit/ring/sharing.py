"""Additive sharing over Z_2^64 in which all parties but the last hold only a 32-byte seed.

x = mask(seed_0) + ... + mask(seed_{n-2}) + last (mod 2**64). Any n-1 shares are jointly uniform: the last share is x
minus AES output that the holders of the other seeds know, and misses at least one seed for everybody else. Sending
seeds instead of arrays makes the upload to all but one party 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg


def split(codes: Codes, prgs: Sequence[Prg], *label: str | int | bytes) -> Codes:
    """Return the last party's share of ``codes``, C-contiguous: codes minus every other party's mask, mod 2**64.

    Args:
        codes: int64 of any shape.
        prgs: one generator per party but the last; their seeds are those parties' shares.
        label: name of the stream, the same that :func:`mask` is given.
    """
    last = np.array(codes, dtype=np.int64, order="C")  # files hold elements in memory's order
    for prg in prgs:
        last -= mask(prg, last.shape, *label)
    return last


def mask(prg: Prg, shape: Sequence[int], *label: str | int | bytes) -> Codes:
    """Return the share that the holder of a seed has: int64 of ``shape``, uniform over Z_2^64."""
    return prg.stream("share", *label).ring(shape)


def shares(codes: Codes, prgs: Sequence[Prg], *label: str | int | bytes) -> list[Codes]:
    """Return all parties' shares of ``codes``, as :func:`mask` and :func:`split` give them apart."""
    masks = [mask(prg, codes.shape, *label) for prg in prgs]
    return [*masks, np.array(codes, dtype=np.int64) - sum(masks)]


def join(shares: Sequence[Codes]) -> Codes:
    """Return the codes that ``shares`` (all parties') add up to, mod 2**64."""
    total = np.array(shares[0], dtype=np.int64)
    for share in shares[1:]:
        total += share
    return total
