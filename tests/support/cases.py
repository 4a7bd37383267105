"""Every op with inputs that exercise it; shared by the conformance tests of all executors."""

from __future__ import annotations

from mpcvit.ops import (
    Add,
    AveragePool,
    Concat,
    Gather,
    GridSpline,
    InputCheck,
    Linear,
    Matmul,
    Multiply,
    Nonnegative,
    Offset,
    Op,
    Order,
    Pad,
    PairDifferences,
    Permute,
    Pick,
    Ranks,
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
    Unfold,
)
from mpcvit.ring.qtype import PIXEL, QType


def t(shape: tuple[int, ...], frac: int = 12, bound: float = 8.0) -> TensorType:
    """A type with symmetric bounds."""
    return TensorType(shape, QType(frac=frac, lo=-bound, hi=bound))


QUADRATIC_SPLINE = Spline(
    origins=(-8 << 12, 0, 3 << 12),
    coefficients=((5 << 20, 100 << 8, -20), (1 << 26, 1 << 14, 1 << 4), (3 << 26, -(1 << 13), 7)),
    input_frac=12,
    frac=26,
    lo=-8 << 12,
    hi=8 << 12,
)
#: More knots, and the first segment begins inside the domain.
LINEAR_SPLINE = Spline(
    origins=tuple(300 + 700 * step for step in range(20)),
    coefficients=tuple(((step - 9) << 18, (-1) ** step * step << 10) for step in range(20)),
    input_frac=12,
    frac=24,
    lo=256,
    hi=16 << 12,
)
#: One polynomial everywhere, of a degree at which powers of x leave the ring on the way.
CUBIC_SPLINE = Spline(
    origins=(-2 << 20,), coefficients=((7, -5, 3, 1),), input_frac=20, frac=0, lo=-2 << 20, hi=2 << 20
)
QUADRATIC_GRID = GridSpline(
    origin=-8 << 12,
    shift=12,
    coefficients=tuple(((knot - 8) << 20, (knot * knot) << 10, (-1) ** knot * knot) for knot in range(32)),
    input_frac=12,
    frac=24,
)
#: The narrowest grid there is.
LINEAR_GRID = GridSpline(
    origin=-3, shift=1, coefficients=((100, 7), (-50, 3), (20, -9), (20, -9)), input_frac=0, frac=4
)
#: One polynomial at all knots: nothing to compare on stock shares.
CONSTANT_GRID = GridSpline(origin=-4, shift=2, coefficients=((7,),) * 4, input_frac=0, frac=4)
#: Ranks of seven candidates in two groups, and outcomes of their 6 + 3 pairs.
RANKS = TensorType((7,), QType(frac=0, lo=0.0, hi=3.0))
OUTCOMES = TensorType((9,), QType(frac=0, lo=0.0, hi=1.0))
POSITIVE = TensorType((5, 3), QType(frac=12, lo=0.07, hi=15.9))

CASES: list[tuple[Op, tuple[TensorType, ...]]] = [
    (Add(), (t((3, 4)), t((4,)))),
    (Subtract(), (t((3, 4)), t((3, 1)))),
    (Offset(-12345), (t((3, 4)),)),
    (Scale(-77, 5), (t((3, 4)),)),
    (Scale(1, 6), (t((3, 4)),)),
    (Rescale(9), (t((3, 40), frac=24),)),
    (Rescale(24), (t((3, 5), frac=24, bound=0.4),)),
    (Linear(), (t((5, 6)), t((6, 4), frac=14, bound=1.0))),
    (Linear(), (t((2, 5, 6)), t((6, 4), frac=14, bound=1.0))),
    (Matmul(), (t((2, 5, 6)), t((2, 6, 3)))),
    (Multiply(), (t((5, 6)), t((5, 1)))),
    (Square(), (t((5, 6)),)),
    (Sum(-1), (t((5, 6)),)),
    (Sum(-2), (t((5, 6)),)),
    (Relu(), (t((5, 6)),)),
    (Relu(5), (t((5, 7)),)),
    (Relu(3), (TensorType((3, 5), QType(frac=0, lo=-255.0, hi=255.0)),)),
    (QUADRATIC_SPLINE, (t((5, 6), bound=7.9),)),
    (LINEAR_SPLINE, (POSITIVE,)),
    (CUBIC_SPLINE, (t((4,), frac=20, bound=2.0),)),
    (QUADRATIC_GRID, (t((5, 6), bound=7.9),)),
    (LINEAR_GRID, (TensorType((9,), QType(frac=0, lo=-3.0, hi=3.0)),)),
    (CONSTANT_GRID, (TensorType((5,), QType(frac=0, lo=-4.0, hi=8.0)),)),
    (Nonnegative(), (t((5, 6)),)),
    (PairDifferences(2), (t((7,)),)),
    (Ranks(7, 2), (OUTCOMES,)),
    (Pick(2, 2), (RANKS,)),
    (Pick(2, 3), (RANKS, t((7,)))),
    (Order(), (t((7,), frac=2, bound=1.0),)),
    (Order(), (t((2,), frac=0, bound=0.0),)),
    (Order(), (t((9,), frac=20, bound=4000.0),)),
    (InputCheck(8), (TensorType((2, 4, 5), PIXEL),)),
    (InputCheck(1), (TensorType((7,), QType(frac=0, lo=0.0, hi=1.0)),)),
    (InputCheck(16), (TensorType((5, 3), QType(frac=0, lo=0.0, hi=65535.0)),)),
    (Pad(-2, 2), (t((2, 3, 4)),)),
    (Unfold(3, 2, 1), (t((5, 6, 2)),)),
    (Unfold(2, 1, 0), (t((3, 2, 4)),)),
    (AveragePool(3), (t((4, 5, 2)),)),
    (Reshape((6, 5)), (t((5, 6)),)),
    (Permute((2, 0, 1)), (t((2, 3, 4)),)),
    (Slice(-1, 1, 3), (t((2, 3, 4)),)),
    (Gather(-2, (2, 0, 0, 1, 2)), (t((2, 3, 4)),)),
    (Gather(-1, (3,)), (t((5, 4)),)),
    (Concat(-1), (t((2, 3)), t((2, 1)), t((2, 2)))),
]
IDS = [f"{op.name}-{number}" for number, (op, _) in enumerate(CASES)]
