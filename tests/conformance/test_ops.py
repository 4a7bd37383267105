"""Every op on stock shares against its reference, and its measured cost against its declared cost."""

from __future__ import annotations

import numpy as np
import pytest

from mpcvit.ops import (
    OPS,
    Add,
    Concat,
    Linear,
    Matmul,
    Multiply,
    Offset,
    Op,
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
from mpcvit.program.cost import largest_message, stock_cost
from mpcvit.program.reference import run_reference
from mpcvit.ring.qtype import QType
from mpcvit.session.session import SETUP_TAG
from tests.secure import one_op, random_codes, run_secure


def t(shape: tuple[int, ...], frac: int = 12, bound: float = 8.0) -> TensorType:
    """A type with symmetric bounds."""
    return TensorType(shape, QType(frac=frac, lo=-bound, hi=bound))


PLAIN_SPLINE = Spline(
    origins=(-8 << 12, 0, 3 << 12),
    exponents=(0, 0, 0),
    coefficients=((0, 100, -20), (1 << 14, 1 << 14, 1 << 10), (3 << 14, -(1 << 13), 7)),
    input_frac=12,
    local_frac=12,
    frac=12,
    guard=2,
    lo=-8 << 12,
    hi=8 << 12,
)
SCALED_SPLINE = Spline(
    origins=(1 << 8, 1 << 10, 1 << 13),
    exponents=(-2, 1, 4),
    coefficients=((16 << 13, -(1 << 15), 1 << 12), (4 << 13, -(1 << 14), 1 << 11), (1 << 12, -(1 << 11), 100)),
    input_frac=12,
    local_frac=15,
    frac=12,
    guard=1,
    lo=1 << 8,
    hi=16 << 12,
)
STEPS_DOWN_SPLINE = Spline(
    origins=(0, 1 << 10),
    exponents=(-1, 0),
    coefficients=((5, 1 << 12), (9, -(1 << 12))),
    input_frac=10,
    local_frac=15,
    frac=12,
    guard=1,
    lo=0,
    hi=2 << 10,
)
POSITIVE = TensorType((5, 3), QType(frac=12, lo=0.07, hi=15.9))

CASES: list[tuple[Op, tuple[TensorType, ...]]] = [
    (Add(), (t((3, 4)), t((4,)))),
    (Subtract(), (t((3, 4)), t((3, 1)))),
    (Offset(-12345), (t((3, 4)),)),
    (Scale(-77, 5), (t((3, 4)),)),
    (Scale(1, 6), (t((3, 4)),)),
    (Rescale(9), (t((3, 40), frac=24),)),
    (Linear(), (t((5, 6)), t((6, 4), frac=14, bound=1.0))),
    (Matmul(), (t((2, 5, 6)), t((2, 6, 3)))),
    (Multiply(), (t((5, 6)), t((5, 1)))),
    (Square(), (t((5, 6)),)),
    (Sum(-1), (t((5, 6)),)),
    (Sum(-2), (t((5, 6)),)),
    (Relu(), (t((5, 6)),)),
    (PLAIN_SPLINE, (t((5, 6), bound=7.9),)),
    (SCALED_SPLINE, (POSITIVE,)),
    (STEPS_DOWN_SPLINE, (TensorType((4,), QType(frac=10, lo=0.0, hi=2.0)),)),
    (Reshape((6, 5)), (t((5, 6)),)),
    (Permute((2, 0, 1)), (t((2, 3, 4)),)),
    (Slice(-1, 1, 3), (t((2, 3, 4)),)),
    (Concat(-1), (t((2, 3)), t((2, 1)), t((2, 2)))),
]
IDS = [f"{op.name}-{number}" for number, (op, _) in enumerate(CASES)]


def test_every_op_has_a_case() -> None:
    """No op escapes this file."""
    assert {type(op) for op, _ in CASES} == set(OPS)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize(("op", "kinds"), CASES, ids=IDS)
def test_stock_equals_reference_within_its_bound(op: Op, kinds: tuple[TensorType, ...], parties: int) -> None:
    """The joined shares differ from the reference by at most ``stock_error``; exact ops not at all."""
    program = one_op(op, *kinds)
    generator = np.random.default_rng(7)
    inputs = {name: random_codes(kind, generator) for name, kind in program.inputs.items()}
    expected = run_reference(program, {}, {name: codes[None] for name, codes in inputs.items()})[0]
    got = run_secure(program, {}, inputs, parties).output
    assert got.shape == expected.shape == program.types["op"].shape
    assert np.abs(got - expected).max() <= op.stock_error(kinds, parties)


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize(("op", "kinds"), CASES, ids=IDS)
def test_measured_cost_is_the_declared_cost(op: Op, kinds: tuple[TensorType, ...], parties: int) -> None:
    """Rounds and bytes counted at the link are those of ``stock_cost``, for the op and for the whole session."""
    program = one_op(op, *kinds)
    inputs = {name: random_codes(kind, np.random.default_rng(1)) for name, kind in program.inputs.items()}
    traces = run_secure(program, {}, inputs, parties).traces
    declared = stock_cost(program, parties)
    for party, trace in enumerate(traces):
        measured = trace.total("op")
        assert (measured.rounds, measured.bytes_sent) == (
            declared.nodes["op"].rounds,
            declared.nodes["op"].bytes_sent[party],
        )
        setup = trace.of(SETUP_TAG)
        assert (setup.rounds, setup.bytes_sent) == (declared.setup.rounds, declared.setup.bytes_sent[party])
        assert trace.total().rounds == declared.total.rounds
    assert largest_message(program, parties) >= max(
        declared.nodes["op"].bytes_sent[0] // max(declared.nodes["op"].rounds, 1) // (parties - 1), 64
    )


@pytest.mark.parametrize("value", [0, 1, -1, 2**40, -(2**40), 2**61 - 1, -(2**61)])
def test_comparison_is_exact_at_the_edges(value: int) -> None:
    """The sign is right at zero, beside it, and at the ends of the range."""
    kind = TensorType((2,), QType(frac=0, lo=-(2.0**61), hi=2.0**61 - 512))
    program = one_op(Relu(), kind, magnitude=2.0**61)
    got = run_secure(program, {}, {"x0": np.array([value, value], dtype=np.int64)}).output
    assert got.tolist() == [max(value, 0)] * 2


def test_products_wrap_like_the_ring() -> None:
    """Products are exact mod 2**64, also where they exceed it."""
    kind = t((3, 3), frac=0, bound=2.0**40)
    codes = np.full((3, 3), 2**39 + 12345, dtype=np.int64)
    program = one_op(Matmul(), kind, kind)
    got = run_secure(program, {}, {"x0": codes, "x1": codes}).output
    with np.errstate(over="ignore"):
        assert (got == codes @ codes).all()
