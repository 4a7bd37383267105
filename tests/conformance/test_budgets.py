"""What the fast engine promises for models of published sizes: rounds, bytes, material (random weights)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.measure.random_models import export_random
from mpcvit.program.files import load_program

MB = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rounds", "megabytes", "material"),
    [
        ("vit_7_4_32.softmax.gelu", 160, 60, None),
        ("vit_7_4_32.relu_softmax.relu", 115, 35, 105),  # with the check of the input, and exact small weights
        ("vit_7_4_32.scaling.identity", 115, 35, 100),
    ],
)
def test_budgets_of_the_cifar_model(
    name: str, rounds: int, megabytes: int, material: int | None, tmp_path: Path
) -> None:
    """Rounds and bytes of both directions stay inside the budget with the default objective; so does the material."""
    export_random(name, tmp_path)
    program = load_program(tmp_path)
    cost = fast_cost(make_plan(program, DEFAULT_OBJECTIVE))
    assert cost.total.rounds <= rounds
    assert sum(cost.total.bytes_sent) <= megabytes * MB
    assert cost.repeat_probability < 0.01
    if material is not None:
        assert max(cost.total.material_bytes) <= material * MB
        frugal = fast_cost(make_plan(program, OBJECTIVES["material"])).total
        assert max(frugal.material_bytes) <= 40 * MB
