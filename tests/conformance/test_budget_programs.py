"""Each Program of a model with several budgets, on the same shares: the replayed reference bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.ring.sharing import join
from mpcvit.store.shared import load_share, share_model
from mpcvit.wire.budget import FULL
from mpcvit.wire.owners import ANYBODY
from tests.support.budgets import BUDGETS, budget_folder, budget_model
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.images import pixel_codes


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One sharing of the model."""
    return share_model(budget_folder(), 2, tmp_path_factory.mktemp("shares"))[1]


@pytest.mark.parametrize("budget", [FULL, *BUDGETS])
def test_every_program_is_its_reference_on_the_same_shares(shares: list[Path], budget: str) -> None:
    """What the parties' shares add up to runs as the fast engine runs it, at the declared cost."""
    first, second = (load_share(folder, index, ANYBODY, budget) for index, folder in enumerate(shares))
    weights = {name: join([codes, second.weights[name]]) for name, codes in first.weights.items()}
    expected = budget_folder().at(budget)
    assert all((codes == expected.weights[name]).all() for name, codes in weights.items())
    _, images = budget_model()
    codes = {"image": pixel_codes(images[:1])[0]}
    run = run_on_fast(first.program, weights, codes)
    assert (run.output == replay(run, weights, codes)).all()
    assert_cost(run)
