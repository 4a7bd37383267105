"""Elements at public positions."""

from __future__ import annotations

import pytest
import torch

from mpcvit.errors import ProgramError
from mpcvit.ops import Gather
from mpcvit.ops.bounds import Bounds
from tests.support.cases import t


def test_nearest_upsampling_is_a_gather() -> None:
    """Rows of a grid, each as often as it is needed; bounds go along."""
    grid = torch.arange(6).reshape(2, 3)
    positions = tuple(grid.repeat_interleave(2, 0).repeat_interleave(2, 1).reshape(-1).tolist())
    x = torch.randint(-99, 99, (4, 6, 5))
    found = Gather(-2, positions).reference(x).reshape(4, 4, 6, 5)
    assert torch.equal(found, x.reshape(4, 2, 3, 5).repeat_interleave(2, 1).repeat_interleave(2, 2))
    bounds = Gather(-1, (1, 1, 0)).bounds(Bounds(torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 5.0])))
    assert bounds.lo.tolist() == [2.0, 2.0, -1.0]
    assert bounds.hi.tolist() == [5.0, 5.0, 0.0]


@pytest.mark.parametrize(("axis", "indices"), [(-1, ()), (-1, (4,)), (-1, (0, -1)), (0, (0,)), (-3, (0,))])
def test_positions_that_are_not_there_are_refused(axis: int, indices: tuple[int, ...]) -> None:
    """None at all, beyond the end, negative; and axes from the front or of a batch."""
    with pytest.raises(ProgramError):
        Gather(axis, indices).infer(t((3, 4)))
