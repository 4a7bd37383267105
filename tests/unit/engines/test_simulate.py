"""Sessions of both engines with all roles in one process."""

from __future__ import annotations

import numpy as np
import pytest

from mpcvit.engines.crypten import simulate as crypten
from mpcvit.engines.masked import simulate as masked
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.ops import Linear, TensorType
from mpcvit.program.program import Node, Program
from mpcvit.ring.qtype import QType

KIND = TensorType((2, 3), QType(frac=0, lo=-9.0, hi=9.0))
PROGRAM = Program(
    {"x": KIND},
    {"w": TensorType((3, 1), QType(frac=0, lo=-9.0, hi=9.0))},
    (Node("y", Linear(), ("x", "w"), TensorType((2, 1), QType(frac=0, lo=-300.0, hi=300.0))),),
    "y",
)
INPUTS = {"x": np.array([[1, 2, 3], [-9, 0, 9]])}
WEIGHTS = {"w": np.array([[7], [-8], [9]])}
EXPECTED = [[18], [18]]


def test_all_randomness_follows_from_the_seed() -> None:
    """Equal seeds give equal shares; another one gives others, of the same output."""
    plan = make_plan(PROGRAM, DEFAULT_OBJECTIVE)
    first, again, other = (masked.run(plan, WEIGHTS, INPUTS, bytes([n]) * 32) for n in (1, 1, 2))
    assert first.output.tolist() == again.output.tolist() == other.output.tolist() == EXPECTED
    assert all((one == two).all() for one, two in zip(first.shares, again.shares, strict=True))
    assert all((one != two).all() for one, two in zip(first.shares, other.shares, strict=True))
    assert first.trusted
    assert not first.repeated
    assert first.material_bytes == plan.material


def test_weights_are_opened_once() -> None:
    """Beside the plan's rounds there is the one in which both parties open the masked weights."""
    plan = make_plan(PROGRAM, DEFAULT_OBJECTIVE)
    run = masked.run(plan, WEIGHTS, INPUTS, bytes(32))
    for trace in run.traces:
        assert trace.of(masked.WEIGHTS_TAG).bytes_sent == 8 * 3
        assert trace.total().rounds == len(plan.messages) + 1


@pytest.mark.parametrize("parties", [2, 3])
def test_any_number_of_parties_on_crypten(parties: int) -> None:
    """One share and one trace for each."""
    run = crypten.run(PROGRAM, WEIGHTS, INPUTS, bytes(32), parties=parties)
    assert run.output.tolist() == EXPECTED
    assert len(run.shares) == len(run.traces) == parties
    assert sum(run.shares).tolist() == EXPECTED


def test_runs_hide_what_parties_hold() -> None:
    """Neither shares nor digests are in the text of a run."""
    run = masked.run(make_plan(PROGRAM, DEFAULT_OBJECTIVE), WEIGHTS, INPUTS, bytes(32))
    assert "shares" not in repr(run)
    assert "digests" not in repr(run)
    assert "seeds" not in repr(masked.Attempt.of(bytes(32)))
