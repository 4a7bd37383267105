"""Every attention kind, with masks where it has scores, on both engines and in the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from tests.support.fast import replay, run_on_fast
from tests.support.head_groups import GROUPS, HeadGroup, make_group
from tests.support.secure import run_secure

#: Largest error of outputs up to 6: 16 steps of 12 fractional bits for the reference, 32 with any other rounding.
REFERENCE_BOUND, SECURE_BOUND = 2.0**-8, 2.0**-7


@cache
def group(name: str) -> HeadGroup:
    """The group called ``name``, lowered once."""
    return make_group(name)


@pytest.mark.parametrize("name", GROUPS)
def test_lowerings_compute_their_kernels(name: str) -> None:
    """In real numbers the lowering is the kernel; in fixed point it is close to it."""
    heads = group(name)
    assert heads.fidelity < 1e-12
    frac = heads.program.types[heads.program.output].frac
    got = decode(run_reference(heads.program, heads.weights, heads.inputs), frac)
    assert np.abs(got - heads.exact).max() < REFERENCE_BOUND


@pytest.mark.parametrize("objective", ["wan", "material", "loopback"])
@pytest.mark.parametrize("name", GROUPS)
def test_the_fast_engine_is_the_reference_bit_for_bit(name: str, objective: str) -> None:
    """The replayed reference, close to floating point, and rounds and bytes as planned."""
    heads, inputs = group(name), group(name).inputs_of(0)
    run = run_on_fast(heads.program, heads.weights, inputs, 1, OBJECTIVES[objective])
    assert (run.output == replay(run, heads.weights, inputs)).all()
    got = decode(run.output, heads.program.types[heads.program.output].frac)
    assert np.abs(got - heads.exact[0]).max() < SECURE_BOUND
    if not run.repeated:
        for trace in run.traces:
            opened = trace.of("weights")
            assert trace.total().rounds - opened.rounds == len(run.plan.messages)
            assert trace.total().bytes_sent - opened.bytes_sent == sum(run.plan.messages)


@pytest.mark.parametrize("name", GROUPS)
def test_stock_shares_are_close(name: str) -> None:
    """CrypTen's protocols on the same Program stay within their rounding errors."""
    heads = group(name)
    output = run_secure(heads.program, heads.weights, heads.inputs_of(1)).output
    got = decode(output, heads.program.types[heads.program.output].frac)
    assert np.abs(got - heads.exact[1]).max() < SECURE_BOUND
