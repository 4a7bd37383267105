"""Random Programs whose values provably stay in their declared ranges, for property tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random  # noqa: TID251 - hypothesis hands these out; no secrets here

import numpy as np

from mpcvit.ops import (
    Add,
    Concat,
    GridSpline,
    Linear,
    Matmul,
    Multiply,
    Nonnegative,
    Offset,
    Op,
    Pad,
    Permute,
    Relu,
    Rescale,
    Reshape,
    Scale,
    Slice,
    Spline,
    Square,
    Subtract,
    Sum,
    TensorType,
)
from mpcvit.program.program import Node, Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType

#: Codes stay below this, so that openings are hardly ever ambiguous.
_LARGEST = 1 << 36
#: ... and splines, whose keys grow with the range, read codes below this.
_SPLINE_LARGEST = 1 << 10


@dataclass(frozen=True)
class _Value:
    """A value and the largest magnitude that its codes can have."""

    name: str
    shape: tuple[int, ...]
    frac: int
    bound: int

    @property
    def type(self) -> TensorType:
        real = self.bound / 2.0**self.frac
        return TensorType(self.shape, QType(frac=self.frac, lo=-real, hi=real))


@dataclass(frozen=True)
class Case:
    """A Program and codes that fit it, the edges of the inputs' ranges among them."""

    program: Program
    weights: dict[str, Codes]
    inputs: dict[str, Codes]


class _Maker:
    """Adds random ops to a growing Program; matrices only."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._values: list[_Value] = []
        self._nodes: list[Node] = []
        self._inputs: dict[str, _Value] = {}
        self._parameters: dict[str, _Value] = {}

    def case(self, inputs: int, nodes: int) -> Case:
        for number in range(inputs):
            shape = self._random.randint(1, 4), self._random.randint(1, 5)
            x = _Value(f"x{number}", shape, self._random.randint(4, 12), self._random.randint(1, 1 << 14))
            self._inputs[x.name] = x
            self._values.append(x)
        makers: list[Callable[[], bool]] = [
            self._unary,
            self._shape,
            self._sum_of_two,
            self._product_of_two,
            self._linear,
            self._spline,
            self._rescale,
            self._relu,
        ]
        while len(self._nodes) < nodes:
            self._random.choice(makers)()
        program = Program(
            {name: x.type for name, x in self._inputs.items()},
            {name: w.type for name, w in self._parameters.items()},
            tuple(self._nodes),
            self._nodes[-1].name,
        )
        weights = {name: self._codes(w) for name, w in self._parameters.items()}
        return Case(program, weights, {name: self._codes(x) for name, x in self._inputs.items()})

    def _codes(self, value: _Value) -> Codes:
        size = value.shape[0] * value.shape[1]
        edges = (value.bound, -value.bound, 0, self._random.randint(-value.bound, value.bound))
        return np.array([self._random.choice(edges) for _ in range(size)], dtype=np.int64).reshape(value.shape)

    def _pick(self) -> _Value:
        """A value, a recent one more often."""
        return self._values[-1 - min(int(8 * self._random.random() ** 3), len(self._values) - 1)]

    def _add(self, op: Op, inputs: list[_Value], bound: int) -> bool:
        if bound >= _LARGEST:
            return False
        shape, frac = op.infer(*(x.type for x in inputs))
        if frac > 40:
            return False
        value = _Value(f"n{len(self._nodes)}.{op.name}", shape, frac, bound)
        self._nodes.append(Node(value.name, op, tuple(x.name for x in inputs), value.type))
        self._values.append(value)
        return True

    def _unary(self) -> bool:
        x, code = self._pick(), self._random.choice((-5, -1, 1, 2, 77))
        if self._random.random() < 0.5:
            return self._add(Scale(code, self._random.randint(0, 3)), [x], abs(code) * x.bound)
        return self._add(Offset(code << 5), [x], x.bound + (abs(code) << 5))

    def _shape(self) -> bool:
        x, axis = self._pick(), self._random.choice((-1, -2))
        length = x.shape[axis]
        start = self._random.randint(0, length - 1)
        op, bound = self._random.choice(
            [
                (Permute((1, 0)), x.bound),
                (Reshape((x.shape[0] * x.shape[1], 1)), x.bound),
                (Reshape((1, x.shape[0] * x.shape[1])), x.bound),
                (Slice(axis, start, self._random.randint(start + 1, length)), x.bound),
                (Pad(axis, 1), x.bound),
                (Sum(axis), x.bound * length),
            ]
        )
        return self._add(op, [x], bound)

    def _sum_of_two(self) -> bool:
        x, y = self._pick(), self._pick()
        if x.frac != y.frac:
            return False
        if x.shape[1] == y.shape[1] and x.shape[0] + y.shape[0] < 10 and self._random.random() < 0.4:
            return self._add(Concat(-2), [x, y], max(x.bound, y.bound))
        if not all(a == b or 1 in (a, b) for a, b in zip(x.shape, y.shape, strict=True)):
            return False
        return self._add(self._random.choice((Add(), Subtract())), [x, y], x.bound + y.bound)

    def _product_of_two(self) -> bool:
        x, y = self._pick(), self._pick()
        if self._random.random() < 0.3:
            return self._add(Square(), [x], x.bound**2)
        if x.shape[1] == y.shape[0] and self._random.random() < 0.6:
            return self._add(Matmul(), [x, y], x.bound * y.bound * x.shape[1])
        if all(a == b or 1 in (a, b) for a, b in zip(x.shape, y.shape, strict=True)):
            return self._add(Multiply(), [x, y], x.bound * y.bound)
        return False

    def _linear(self) -> bool:
        x, width = self._pick(), self._random.randint(1, 4)
        w = _Value(f"w{len(self._parameters)}", (x.shape[1], width), 6, self._random.randint(1, 200))
        if not self._add(Linear(), [x, w], x.bound * w.bound * x.shape[1]):
            return False
        self._parameters[w.name] = w
        product = self._values[-1]
        if self._random.random() < 0.5:
            bias = _Value(f"w{len(self._parameters)}", (1, width), product.frac, self._random.randint(1, 1 << 12))
            if self._add(Add(), [product, bias], product.bound + bias.bound):
                self._parameters[bias.name] = bias
        return True

    def _rescale(self) -> bool:
        x = self._pick()
        if x.frac < 2:
            return False
        bits = self._random.randint(1, x.frac)
        return self._add(Rescale(bits), [x], (x.bound >> bits) + 1)

    def _relu(self) -> bool:
        x = self._pick()
        if self._random.random() < 0.2:
            return self._add(Nonnegative(), [x], 1)
        return self._add(Relu(self._random.randint(0, min(x.bound.bit_length() - 1, 5))), [x], x.bound)

    def _spline(self) -> bool:
        x = self._pick()
        if x.bound >= _SPLINE_LARGEST:
            return False
        coefficients = [tuple(self._random.randint(-9, 9) for _ in range(3)) for _ in range(4)]
        if self._random.random() < 0.5:
            shift = max((2 * x.bound // 3).bit_length(), 1)
            bound = sum(9 << (shift * power) for power in range(3))
            return self._add(GridSpline(-x.bound, shift, tuple(coefficients), x.frac, x.frac), [x], bound)
        origins = sorted({-x.bound, *(self._random.randint(-x.bound, x.bound) for _ in range(3))})
        bound = sum(9 * (2 * x.bound) ** power for power in range(3))
        op = Spline(tuple(origins), tuple(coefficients[: len(origins)]), x.frac, x.frac, -x.bound, x.bound)
        return self._add(op, [x], bound)


def random_case(random: Random, inputs: int = 2, nodes: int = 12) -> Case:
    """A Program of about ``nodes`` nodes and what to run it on."""
    return _Maker(random).case(inputs, nodes)
