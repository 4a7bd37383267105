"""Every op on stock shares against its reference, and its measured cost against its declared cost."""

from __future__ import annotations

import numpy as np
import pytest

from mpcvit.engines.crypten.cost import largest_message, stock_cost
from mpcvit.engines.crypten.kernel import kernel_for
from mpcvit.engines.setup_round import SETUP_TAG
from mpcvit.ops import OPS, Matmul, Op, Relu, TensorType
from mpcvit.program.reference import run_reference
from mpcvit.ring.qtype import QType
from tests.support.cases import CASES, IDS, t
from tests.support.secure import one_op, random_codes, run_secure


def test_every_op_has_a_case() -> None:
    """No op escapes this file."""
    assert {type(op) for op, _ in CASES} == set(OPS)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize(("op", "kinds"), CASES, ids=IDS)
def test_stock_equals_reference_within_its_bound(op: Op, kinds: tuple[TensorType, ...], parties: int) -> None:
    """The joined shares differ from the reference by at most their kernel's ``error``; exact ops not at all."""
    program = one_op(op, *kinds)
    generator = np.random.default_rng(7)
    inputs = {name: random_codes(kind, generator) for name, kind in program.inputs.items()}
    expected = run_reference(program, {}, {name: codes[None] for name, codes in inputs.items()})[0]
    got = run_secure(program, {}, inputs, parties).output
    assert got.shape == expected.shape == program.types["op"].shape
    assert np.abs(got - expected).max() <= kernel_for(op).error(kinds, parties)


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
