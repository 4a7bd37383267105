"""Annealing of switches."""

from __future__ import annotations

import pytest
import torch

from mpcvit.search.anneal import Annealing, step
from mpcvit.train.config import TrainConfig
from tests.support.searches import relaxed


def test_annealing_presses_harder_until_the_target_is_met() -> None:
    """A group behind its pace has its penalty raised by a tenth; one at its target is binary from then on."""
    model = relaxed()
    settings = Annealing(
        training=TrainConfig(model="", epochs=10), fine_tuning=TrainConfig(model="", epochs=1), warmup_epochs=1
    )
    model.penalties.fill_(1.0)
    step(model, "heads", 2, 1, settings)
    assert model.penalties.tolist() == [1.0, 1.0]
    step(model, "heads", 2, 5, settings)
    assert model.penalties.tolist() == pytest.approx([1.1, 1.0])
    with torch.no_grad():
        model.head_switches[0].copy_(torch.tensor([5e-4, 0.4]))
        model.head_switches[1].copy_(torch.tensor([0.3, -1.0]))
    step(model, "heads", 2, 6, settings)
    assert model.is_frozen("heads")
    assert not model.is_frozen("gates")
    assert [switch.tolist() for switch in model.head_switches] == [[0.0, 1.0], [1.0, 0.0]]
