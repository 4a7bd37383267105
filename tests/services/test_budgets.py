"""Several Programs of one set of shares, served by real processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcvit.client import Client
from mpcvit.client.image import encode_picture
from mpcvit.errors import BudgetUnknown
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.wire.budget import FULL
from tests.support.budgets import budget_folder
from tests.support.clusters import make_cluster


def test_a_client_chooses_among_the_programs_of_one_set_of_shares(tmp_path: Path) -> None:
    """Each budget's answer is its own reference's, at the cost that its manifest says; an unknown one is refused."""
    model = budget_folder()
    model.save(tmp_path / "model")
    picture = np.random.default_rng(3).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    with (
        make_cluster(tmp_path / "model", tmp_path) as running,
        Client.from_config(running.client_config) as client,
    ):
        served = {manifest.budget: manifest for manifest in client.models()}
        assert set(served) == set(model.programs)
        costs = {one.budget: one for one in served["fast"].programs}
        for budget, manifest in served.items():
            own = model.at(budget)
            codes = encode_picture(picture, manifest)[None]
            expected = decode(run_reference(own.program, own.weights, {"image": codes})[0], manifest.output_type.frac)
            answer = client.infer(picture, budget=None if budget == FULL else budget)
            assert answer.budget == budget
            assert np.abs(answer.logits - expected).max() < 0.05
            cost = costs[budget]
            assert (answer.rounds, answer.stats[0].bytes_sent) == (cost.rounds, cost.bytes_sent)
            assert answer.stats[1].material_bytes == cost.material_bytes
        with pytest.raises(BudgetUnknown, match="'slow'"):
            client.infer(picture, budget="slow")
