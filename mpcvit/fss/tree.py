"""The tree of a distributed point function: one level of it, for sixteen elements at once.

Boyle, Gilboa, Ishai, "Function Secret Sharing: Improvements and Extensions", CCS 2016, figure 1, with the hash of
:mod:`mpcvit.fss.tree_hash` as generator. Both parties grow a tree from their own root. At a node off the path to alpha
their seeds and control bits are equal; at a node on it the seeds are independent and the control bits differ. A
correction word per level, the same for both, makes it so: it cancels the child that leaves the path.

Kernels walk chunks of elements, in groups of sixteen, so that what they keep of each stays in cache. They are inlined
into the loops of their callers. A last group that is not full overlaps the one before it: results are written again,
equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mpcvit.fss.aes import aes
from mpcvit.fss.checks import Words
from mpcvit.fss.lanes import BLOCKS, WORDS, in_all_blocks, load, load_words, lowest_bit, shifted, store
from mpcvit.fss.tree_hash import SEED_BITS

#: Elements of a group, and of a chunk.
GROUP = BLOCKS
CHUNK = 1024
#: Words of a group's seeds.
STATE = WORDS
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)


def padded(array: Words, axis: int) -> Words:
    """Return the array with zeros behind it if it has no full group of elements on ``axis``, and flat."""
    lacking = GROUP - array.shape[axis]
    if lacking > 0:
        array = np.pad(array, [(0, lacking if number == axis else 0) for number in range(array.ndim)])
    return array.reshape(-1)


@njit(cache=True, nogil=True, inline="always")
def one() -> Any:
    """Return 1 in every block."""
    return in_all_blocks(_ONE, _NONE)


@njit(cache=True, nogil=True, inline="always")
def everything() -> Any:
    """Return all bits of every block."""
    return in_all_blocks(ALL, ALL)


@njit(cache=True, nogil=True, inline="always")
def seeds(nodes: Any) -> Any:
    """Return nodes without their control bits."""
    return nodes & in_all_blocks(SEED_BITS, ALL)


@njit(cache=True, nogil=True, inline="always")
def hashed(keys: Words, inputs: Any) -> Any:
    """Return H of every block."""
    return aes(keys, inputs) ^ inputs


@njit(cache=True, nogil=True, inline="always")
def planted(root: Words, n: int, party: np.uint64) -> Any:
    """Return the roots of a group that begins at element n, with the party's number as control bit."""
    return seeds(load(root, 2 * n)) | in_all_blocks(party, _NONE)


@njit(cache=True, nogil=True, inline="always")
def plant(root0: Words, root1: Words, start: int, count: int, state: Words) -> int:
    """Write both parties' roots of the chunk from element ``start`` on, group by group, and return how many groups.

    Args:
        root0, root1: of ``count`` elements, flat.
        state: of each group the nodes of party 0, then those of party 1.
    """
    groups = (min(CHUNK, count - start) + GROUP - 1) // GROUP
    for j in range(groups):
        n = min(start + GROUP * j, count - GROUP)
        store(state, 2 * STATE * j, planted(root0, n, _NONE))
        store(state, 2 * STATE * j + STATE, planted(root1, n, _NONE))
    return groups


@njit(cache=True, nogil=True, inline="always")
def direction(point: Words, n: int, shift: int) -> Any:
    """Return one bit of the points of a group: 1 to the right."""
    return shifted(load_words(point, n), np.uint64(shift)) & one()


@njit(cache=True, nogil=True, inline="always")
def value(keys: Words, nodes: Any, number: int) -> Any:
    """Return value block ``number``, from 1, of every node: two ring words each."""
    return hashed(keys, seeds(nodes) ^ in_all_blocks(np.uint64(number) << _TWO, _NONE))


@njit(cache=True, nogil=True, inline="always")
def child(keys: Words, nodes: Any, correction: Any, side: Any) -> Any:
    """Return the corrected child of every node on its side."""
    corrected = seeds(correction) | ((correction >> side) & one())
    return hashed(keys, seeds(nodes) ^ side) ^ (corrected & lowest_bit(nodes))


@njit(cache=True, nogil=True, inline="always")
def deal_level(keys: Words, nodes0: Any, nodes1: Any, side: Any) -> Any:
    """Return the correction words of one level, and both parties' next nodes on alpha's path.

    Args:
        nodes0, nodes1: the parties' nodes; party 0's have their control bits, party 1's are the others.
        side: alpha's directions.
    """
    inputs0, inputs1, bit = seeds(nodes0), seeds(nodes1), one()
    left0, left1 = hashed(keys, inputs0), hashed(keys, inputs1)
    right0, right1 = hashed(keys, inputs0 ^ bit), hashed(keys, inputs1 ^ bit)
    right = lowest_bit(side)
    left_difference, right_difference = left0 ^ left1, right0 ^ right1
    lost = seeds(right_difference ^ ((left_difference ^ right_difference) & right))
    control_left = (left_difference ^ side ^ bit) & bit
    control_right = (right_difference ^ side) & bit
    word = lost | control_left | (control_right + control_right)
    corrected = lost | control_left ^ ((control_left ^ control_right) & right)
    mask0 = lowest_bit(nodes0)
    next0 = left0 ^ ((left0 ^ right0) & right) ^ (corrected & mask0)
    next1 = left1 ^ ((left1 ^ right1) & right) ^ (corrected & (mask0 ^ everything()))
    return word, next0, next1
