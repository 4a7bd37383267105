"""AES-128 of sixteen blocks at once, in compiled kernels, under a public key.

The processor's own instructions where numba's target has them: VAES, AES-NI or ARMv8's. Elsewhere AES is computed with
shifts and masks on words of eight bytes: a few hundred times slower, and, as it has no tables, in constant time, too.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils
from numba.core.registry import cpu_target

from mpcvit.fss.checks import Words
from mpcvit.fss.lanes import (
    WORD,
    WORDS,
    Typed,
    in_kernels,
    joined,
    lanes,
    load,
    pointer,
    store,
    with_word,
    word_of,
    words_of,
    zeros,
)

ROUNDS = 10
#: Words of all round keys.
KEY_WORDS = 2 * (ROUNDS + 1)


class Instructions(StrEnum):
    """How a processor computes AES."""

    VAES = "vaes"
    AES_NI = "aes-ni"
    ARMV8 = "armv8"
    NONE = "none"


def _instructions() -> Instructions:
    """Return what numba's target has: another choice would end the process when a kernel is compiled."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    has = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if "aes" not in has:
        return Instructions.NONE
    if triple.startswith(("aarch64", "arm64")):
        return Instructions.ARMV8
    if not triple.startswith("x86_64"):
        return Instructions.NONE
    return Instructions.VAES if {"vaes", "avx2"} <= has else Instructions.AES_NI


INSTRUCTIONS = _instructions()

# -- with shifts and masks ---------------------------------------------------------------------------------------------

_LOW_BITS = np.uint64(0x0101_0101_0101_0101)
_BYTE = np.uint64(0xFF)
_NOT_TOP = np.uint64(0x7F7F_7F7F_7F7F_7F7F)
_REDUCED = np.uint64(0x1B)
_AFFINE = np.uint64(0x6363_6363_6363_6363)
_ONE, _SEVEN, _EIGHT = np.uint64(1), np.uint64(7), np.uint64(8)
_HALF, _ROW = np.uint64(32), np.uint64(0x0000_00FF_0000_00FF)
_COLUMN = np.uint64(0xFFFF_FFFF)


@njit(cache=True, nogil=True)
def _doubled(bytes_: np.uint64) -> np.uint64:
    """Return eight bytes times x in AES's field."""
    return ((bytes_ & _NOT_TOP) << _ONE) ^ (((bytes_ >> _SEVEN) & _LOW_BITS) * _REDUCED)


@njit(cache=True, nogil=True)
def _times(left: np.uint64, right: np.uint64) -> np.uint64:
    """Return the products of eight bytes in AES's field."""
    product = np.uint64(0)
    for bit in range(8):
        product ^= left & (((right >> np.uint64(bit)) & _LOW_BITS) * _BYTE)
        left = _doubled(left)
    return product


@njit(cache=True, nogil=True)
def _turned(bytes_: np.uint64, by: int) -> np.uint64:
    """Return eight bytes, the bits of each rotated left."""
    left, right = np.uint64(by), np.uint64(8 - by)
    kept = _LOW_BITS * ((_BYTE << left) & _BYTE)
    return ((bytes_ << left) & kept) | ((bytes_ >> right) & ~kept)


@njit(cache=True, nogil=True)
def _substituted(bytes_: np.uint64) -> np.uint64:
    """Return the S-box of eight bytes: the inverse, x**254, and an affine map (FIPS 197, section 5.1.1)."""
    square = _times(bytes_, bytes_)
    cube = _times(square, bytes_)
    fourth = _times(cube, cube)
    twelfth = _times(fourth, fourth)
    power = _times(twelfth, cube)  # 15
    for _ in range(4):  # 240
        power = _times(power, power)
    inverse = _times(_times(power, twelfth), square)
    return inverse ^ _turned(inverse, 1) ^ _turned(inverse, 2) ^ _turned(inverse, 3) ^ _turned(inverse, 4) ^ _AFFINE


@njit(cache=True, nogil=True)
def round_keys(key: Words) -> Words:
    """Return the round keys of a public 128-bit key, uint64[2]: uint64[22] (FIPS 197, section 5.2)."""
    columns = np.empty(2 * KEY_WORDS, dtype=np.uint64)
    for place in range(4):
        columns[place] = (key[place // 2] >> (_HALF * np.uint64(place % 2))) & _COLUMN
    constant = _ONE
    for place in range(4, 2 * KEY_WORDS):
        last = columns[place - 1]
        if place % 4 == 0:
            turned = ((last >> _EIGHT) | (last << np.uint64(24))) & _COLUMN
            last = (_substituted(turned) & _COLUMN) ^ constant
            constant = _doubled(constant)
        columns[place] = columns[place - 4] ^ last
    return columns[::2] | (columns[1::2] << _HALF)


@njit(cache=True, nogil=True)
def _rows_shifted(low: np.uint64, high: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return a block whose row r is moved by r columns (FIPS 197, section 5.1.2); columns are 32 bits."""
    new_low, new_high, row = np.uint64(0), np.uint64(0), _ROW
    for _ in range(4):
        new_low |= low & row
        new_high |= high & row
        low, high = (low >> _HALF) | (high << _HALF), (high >> _HALF) | (low << _HALF)
        row <<= _EIGHT
    return new_low, new_high


@njit(cache=True, nogil=True)
def _columns_mixed(word: np.uint64) -> np.uint64:
    """Return two columns, mixed (FIPS 197, section 5.1.3)."""
    below = np.uint64(0x00FF_FFFF_00FF_FFFF)
    one = ((word >> _EIGHT) & below) | ((word << np.uint64(24)) & ~below)
    two = ((one >> _EIGHT) & below) | ((one << np.uint64(24)) & ~below)
    three = ((two >> _EIGHT) & below) | ((two << np.uint64(24)) & ~below)
    return _doubled(word ^ one) ^ one ^ two ^ three


@njit(cache=True, nogil=True)
def encrypted_block(keys: Words, low: np.uint64, high: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return AES-128 of one block, without instructions for it."""
    low ^= keys[0]
    high ^= keys[1]
    for number in range(1, ROUNDS + 1):
        low, high = _rows_shifted(_substituted(low), _substituted(high))
        if number < ROUNDS:
            low, high = _columns_mixed(low), _columns_mixed(high)
        low ^= keys[2 * number]
        high ^= keys[2 * number + 1]
    return low, high


@njit(cache=True, nogil=True)
def _aes_by_words(keys: Words, blocks: Any) -> Any:
    result = zeros()
    for place in range(0, WORDS, 2):
        low, high = encrypted_block(keys, word_of(blocks, place), word_of(blocks, place + 1))
        result = with_word(with_word(result, place, low), place + 1, high)
    return result


# -- with the processor's instructions ---------------------------------------------------------------------------------


def _x86_rounds(builder: Any, states: list[Any], keys: list[Any]) -> list[Any]:
    kind = states[0].type
    suffix = "" if kind.count == 2 else f".{64 * kind.count}"
    function = ir.FunctionType(kind, [kind, kind])
    names = ["aesenc"] * (ROUNDS - 1) + ["aesenclast"]
    states = [builder.xor(state, keys[0]) for state in states]
    for name, key in zip(names, keys[1:], strict=True):
        step = cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.aesni.{name}{suffix}")
        states = [builder.call(step, [state, key]) for state in states]
    return states


def _arm_rounds(builder: Any, states: list[Any], keys: list[Any]) -> list[Any]:
    block, octets = states[0].type, ir.VectorType(ir.IntType(8), 16)
    enter = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(octets, [octets, octets]), "llvm.aarch64.crypto.aese"
    )
    mix = cgutils.get_or_insert_function(builder.module, ir.FunctionType(octets, [octets]), "llvm.aarch64.crypto.aesmc")
    states = [builder.bitcast(state, octets) for state in states]
    for number, key in enumerate(keys[:-1]):
        states = [builder.call(enter, [state, builder.bitcast(key, octets)]) for state in states]
        if number < ROUNDS - 1:
            states = [builder.call(mix, [state]) for state in states]
    return [builder.xor(builder.bitcast(state, block), keys[-1]) for state in states]


@in_kernels
def _aes_by_instructions(typing: Any, keys: Any, blocks: Any) -> Typed:
    count = 4 if INSTRUCTIONS is Instructions.VAES else 2  # words of a register
    rounds = _arm_rounds if INSTRUCTIONS is Instructions.ARMV8 else _x86_rounds
    part, block = ir.VectorType(WORD, count), ir.VectorType(WORD, 2)
    abreast = 8  # states at once: the instructions take turns while each waits for its last

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def key(number: int) -> Any:
            at = ir.Constant(WORD, 2 * number)
            place = pointer(context, builder, signature.args[0], arguments[0], at, block)
            loaded = builder.load(place, align=8, typ=block)
            return words_of(builder, loaded, [0, 1] * (count // 2))

        keys_of_rounds = [key(number) for number in range(ROUNDS + 1)]
        states = [
            words_of(builder, arguments[1], range(start, start + part.count)) for start in range(0, WORDS, part.count)
        ]
        done: list[Any] = []
        for first in range(0, len(states), abreast):
            done += rounds(builder, states[first : first + abreast], keys_of_rounds)
        return joined(builder, done)

    return lanes(keys, lanes), generate


#: Of round keys, uint64[22], and 16 blocks: AES-128 of each block.
aes = _aes_by_words if INSTRUCTIONS is Instructions.NONE else _aes_by_instructions


@njit(cache=True, nogil=True)
def encrypt_blocks(keys: Words, blocks: Words, out: Words) -> None:
    """Write AES-128 of each block of ``blocks``, flat words of at least 16 blocks, to ``out``."""
    for start in range(0, blocks.shape[0], WORDS):
        at = min(start, blocks.shape[0] - WORDS)
        store(out, at, aes(keys, load(blocks, at)))
