"""Sixteen 128-bit blocks as one value of compiled kernels: what numba lacks to keep AES in vector registers.

A value of this type is 32 words of 64 bits, a block's low word before its high word. Kernels load it from flat arrays
of words, combine it by operators, which work word by word, and store it. Nothing here branches or indexes by what a
value holds. Offsets count words.

numba's cache does not see that this module, :mod:`mpcvit.fss.aes` or :mod:`mpcvit.fss.tree` has changed: remove the
``*.nbi`` and ``*.nbc`` files of this package after an edit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

BLOCKS = 16
WORDS = 2 * BLOCKS
WORD = ir.IntType(64)
VECTOR = ir.VectorType(WORD, WORDS)
_BLOCK = ir.VectorType(WORD, 2)
_INDEX = ir.IntType(32)
#: What numba hands to a code generator: context, builder, signature, arguments.
Generator = Callable[[Any, Any, Any, Any], Any]
Typed = tuple[Any, Generator]


class LanesType(types.Type):
    """The type of sixteen blocks in compiled code."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)  # type: ignore[no-untyped-call]


def in_kernels(function: Callable[..., Typed]) -> Any:
    """Let kernels call what ``function`` generates: numba's decorator, with a type that says so."""
    return intrinsic(function)


# -- generating code ---------------------------------------------------------------------------------------------------


def pointer(context: Any, builder: Any, kind: Any, array: Any, word: Any, to: Any) -> Any:
    """Return a pointer ``to`` something that begins at a word of a flat array of type ``kind``."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [word]), ir.PointerType(to))


def indices(numbers: Iterable[int]) -> Any:
    """Return the constant by which a shuffle picks words."""
    listed = list(numbers)
    return ir.Constant(ir.VectorType(_INDEX, len(listed)), [ir.Constant(_INDEX, number) for number in listed])


def words_of(builder: Any, vector: Any, numbers: Iterable[int]) -> Any:
    """Return the words of a vector that ``numbers`` name."""
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), indices(numbers))


def joined(builder: Any, parts: Iterable[Any]) -> Any:
    """Return vectors, as many as a power of two, as one."""
    rest = list(parts)
    while len(rest) > 1:
        count = 2 * rest[0].type.count
        pairs = zip(rest[::2], rest[1::2], strict=True)
        rest = [builder.shuffle_vector(left, right, indices(range(count))) for left, right in pairs]
    return rest[0]


def _constant(words: Iterable[int]) -> Any:
    return ir.Constant(VECTOR, [ir.Constant(WORD, word & (1 << 64) - 1) for word in words])


def _in_all_words(builder: Any, word: Any) -> Any:
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), word, ir.Constant(_INDEX, 0))
    return words_of(builder, one, [0] * WORDS)


def _row(builder: Any, first: Any, stride: Any, number: int) -> Any:
    return builder.add(first, builder.mul(stride, ir.Constant(WORD, number)))


#: The low word of every block, twice.
_LOW_TWICE = [2 * block for block in range(BLOCKS) for _ in range(2)]

# -- loads and stores --------------------------------------------------------------------------------------------------


@in_kernels
def load(typing: Any, array: Any, at: Any) -> Typed:
    """Return 16 blocks in a row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = pointer(context, builder, signature.args[0], arguments[0], arguments[1], VECTOR)
        return builder.load(source, align=8, typ=VECTOR)

    return lanes(array, types.intp), generate


@in_kernels
def store(typing: Any, array: Any, at: Any, value: Any) -> Typed:
    """Write 16 blocks in a row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = pointer(context, builder, signature.args[0], arguments[0], arguments[1], VECTOR)
        builder.store(arguments[2], target, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


def _load_repeated(times: int) -> Any:
    part = ir.VectorType(WORD, WORDS // times)
    numbers = [2 * (block // times) + word for block in range(BLOCKS) for word in (0, 1)]

    @in_kernels
    def load_repeated(typing: Any, array: Any, at: Any) -> Typed:
        """Return 16 / times blocks in a row, each ``times`` times."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source = pointer(context, builder, signature.args[0], arguments[0], arguments[1], part)
            return words_of(builder, builder.load(source, align=8, typ=part), numbers)

        return lanes(array, types.intp), generate

    return load_repeated


load_each_twice, load_each_4_times, load_each_8_times, load_one_16_times = map(_load_repeated, (2, 4, 8, 16))


@in_kernels
def load_words(typing: Any, array: Any, at: Any) -> Typed:
    """Return 16 words in a row as the low words of blocks; high words are 0."""
    part = ir.VectorType(WORD, BLOCKS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = pointer(context, builder, signature.args[0], arguments[0], arguments[1], part)
        found, zero = builder.load(source, align=8, typ=part), ir.Constant(part, [ir.Constant(WORD, 0)] * BLOCKS)
        spread = indices(block if word == 0 else BLOCKS for block in range(BLOCKS) for word in (0, 1))
        return builder.shuffle_vector(found, zero, spread)

    return lanes(array, types.intp), generate


@in_kernels
def load_rows(typing: Any, array: Any, at: Any, stride: Any) -> Typed:
    """Return one block of each of 16 rows that begin ``stride`` words apart."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sources, (kind, *_), (source, first, apart) = [], signature.args, arguments
        for number in range(BLOCKS):
            place = pointer(context, builder, kind, source, _row(builder, first, apart, number), _BLOCK)
            sources.append(builder.load(place, align=8, typ=_BLOCK))
        return joined(builder, sources)

    return lanes(array, types.intp, types.intp), generate


@in_kernels
def store_rows(typing: Any, array: Any, at: Any, stride: Any, value: Any) -> Typed:
    """Write a block to each of 16 rows that begin ``stride`` words apart."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (kind, *_), (target, first, apart, vector) = signature.args, arguments
        for number in range(BLOCKS):
            place = pointer(context, builder, kind, target, _row(builder, first, apart, number), _BLOCK)
            builder.store(words_of(builder, vector, [2 * number, 2 * number + 1]), place, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, lanes), generate


@in_kernels
def load_low_rows(typing: Any, array: Any, at: Any, stride: Any) -> Typed:
    """Return one word of each of 16 rows as the low words of blocks; high words are 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, (kind, *_), (source, first, apart) = _constant([0] * WORDS), signature.args, arguments
        for number in range(BLOCKS):
            place = pointer(context, builder, kind, source, _row(builder, first, apart, number), WORD)
            word = builder.load(place, align=8, typ=WORD)
            vector = builder.insert_element(vector, word, ir.Constant(_INDEX, 2 * number))
        return vector

    return lanes(array, types.intp, types.intp), generate


@in_kernels
def store_low_rows(typing: Any, array: Any, at: Any, stride: Any, value: Any) -> Typed:
    """Write the low word of each block to one of 16 rows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (kind, *_), (target, first, apart, vector) = signature.args, arguments
        for number in range(BLOCKS):
            place = pointer(context, builder, kind, target, _row(builder, first, apart, number), WORD)
            word = builder.extract_element(vector, ir.Constant(_INDEX, 2 * number))
            builder.store(word, place, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, lanes), generate


@in_kernels
def word_of(typing: Any, value: Any, number: Any) -> Typed:
    """Return one word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(*arguments)

    return types.uint64(lanes, types.intp), generate


@in_kernels
def with_word(typing: Any, value: Any, number: Any, word: Any) -> Typed:
    """Return the value with another word at one place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, place, new = arguments
        return builder.insert_element(vector, new, place)

    return lanes(lanes, types.intp, types.uint64), generate


# -- constants ---------------------------------------------------------------------------------------------------------


@in_kernels
def in_all_blocks(typing: Any, low: Any, high: Any) -> Typed:
    """Return the same block 16 times."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.Constant(VECTOR, ir.Undefined)
        for place, word in enumerate(arguments):
            vector = builder.insert_element(vector, word, ir.Constant(_INDEX, place))
        return words_of(builder, vector, [0, 1] * BLOCKS)

    return lanes(types.uint64, types.uint64), generate


def _fixed(words: list[int], meaning: str) -> Any:
    @in_kernels
    def fixed(typing: Any) -> Typed:
        return lanes(), lambda context, builder, signature, arguments: _constant(words)

    fixed.__doc__ = meaning
    return fixed


zeros = _fixed([0] * WORDS, "Return blocks of 0.")
ones_of_odd_blocks = _fixed([0, 0, 1, 0] * (BLOCKS // 2), "Return 1 in odd blocks, which are right children, else 0.")
all_of_low_words = _fixed([-1, 0] * BLOCKS, "Return all bits of the low words.")

# -- arithmetic --------------------------------------------------------------------------------------------------------


def _by_word(operation: Any, instruction: str) -> None:
    """Let an operator of Python's work on lanes."""

    @in_kernels
    def combined(typing: Any, left: Any, right: Any) -> Typed:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return lanes(lanes, lanes), generate

    @overload(operation, inline="always")
    def _operator(left: Any, right: Any) -> Any:
        def combine(left: Any, right: Any) -> Any:
            return combined(left, right)

        return combine if isinstance(left, LanesType) and isinstance(right, LanesType) else None


for _operation, _instruction in (
    (operator.xor, "xor"),
    (operator.and_, "and_"),
    (operator.or_, "or_"),
    (operator.add, "add"),
    (operator.sub, "sub"),
    (operator.rshift, "lshr"),
):
    _by_word(_operation, _instruction)


@in_kernels
def lowest_bit(typing: Any, value: Any) -> Typed:
    """Return all ones in blocks whose lowest bit is set, else 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low, top = words_of(builder, arguments[0], _LOW_TWICE), _constant([63] * WORDS)
        return builder.ashr(builder.shl(low, top), top)

    return lanes(lanes), generate


@in_kernels
def low_in_both(typing: Any, value: Any) -> Typed:
    """Return the low word of each block in both of its words."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return words_of(builder, arguments[0], _LOW_TWICE)

    return lanes(lanes), generate


@in_kernels
def shifted(typing: Any, value: Any, by: Any) -> Typed:
    """Return every word shifted right by a public number of bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], _in_all_words(builder, arguments[1]))

    return lanes(lanes, types.uint64), generate
