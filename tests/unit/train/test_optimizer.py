"""Which parameters decay, and how fast they learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.optimizer import make_optimizer, make_schedule
from mpcvit.train.run import build_model
from mpcvit.train.trainer import fit
from tests.support.columns import varied
from tests.support.training import CONFIG, TINY


class Searchable(nn.Module):
    """Names as a supernet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.gate = nn.Linear(4, 4)  # a layer of that name is no architecture parameter
        self.alpha = nn.Parameter(torch.ones(1, 2, 1, 1))
        self.inner = nn.Module()
        self.inner.beta = nn.Parameter(torch.ones(4, 4))
        self.pos_embed = nn.Parameter(torch.ones(3, 4))

    def no_weight_decay(self) -> set[str]:
        """As models say it."""
        return {"pos_embed"}


@pytest.mark.parametrize("optimizer", ["adamw", "nadamuon"])
def test_weight_decay_is_for_matrices_of_layers_only(optimizer: str) -> None:
    """Vectors, what the model names, and architecture parameters have none; the latter never meet Muon."""
    model = Searchable()
    made = make_optimizer(model, replace(CONFIG, optimizer=optimizer, weight_decay=0.3))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {
        names[id(parameter)]: group["weight_decay"] for group in made.param_groups for parameter in group["params"]
    }
    assert {name for name, decay in decays.items() if decay == 0.3} == {"fc.weight", "gate.weight"}
    assert {name for name, decay in decays.items() if decay == 0} == {
        "fc.bias",
        "gate.bias",
        "alpha",
        "inner.beta",
        "pos_embed",
    }
    fallback = {
        names[id(parameter)]
        for group in made.param_groups
        if group.get("use_fallback")
        for parameter in group["params"]
    }
    assert fallback == {"alpha", "inner.beta"}


@pytest.mark.parametrize("optimizer", ["adamw", "nadamuon"])
def test_selectors_learn_at_their_own_rate(optimizer: str, images: ImageSet, tmp_path: Path) -> None:
    """At a rate of 0 selectors stay and all else moves; every group's rate follows the schedule."""
    smaller = varied(TINY, reduction=(Reduction(kind=ReductionKind.SPVIT, keep=2), None))
    config = replace(CONFIG, architecture=smaller, epochs=1, optimizer=optimizer, selector_rate=0.0)
    model = build_model(config, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, config, images, tmp_path, objective=CrossEntropy(), device="cpu", workers=0)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if ".entry." in name}

    made = make_optimizer(model, replace(config, selector_rate=0.1, warmup_epochs=0))
    make_schedule(made, replace(config, warmup_epochs=0), 5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[parameter]: group["lr"] for group in made.param_groups for parameter in group["params"]}
    assert set(rates) == set(names.values())
    for name, rate in rates.items():
        assert rate == pytest.approx(config.lr * (0.1 if ".entry." in name else 1.0))


def test_blocks_learn_the_slower_the_nearer_they_are_to_the_pixels(images: ImageSet, tmp_path: Path) -> None:
    """Each block at a share of the rate of the block behind it, registers as the embedding; a run follows that."""
    config = replace(CONFIG, layer_decay=0.5, warmup_epochs=0, architecture=replace(TINY, registers=1))
    model = build_model(config, 2)
    made = make_optimizer(model, config)
    make_schedule(made, config, 5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[parameter]: group["lr"] for group in made.param_groups for parameter in group["params"]}
    assert set(rates) == set(names.values())
    expected = {"pos_embed": 1 / 8, "patch_embed": 1 / 8, "registers": 1 / 8, "norm": 1.0, "head": 1.0}
    for name, rate in rates.items():
        head, *rest = name.split(".")
        share = {"0": 1 / 4, "1": 1 / 2}[rest[0]] if head == "blocks" else expected[head]
        assert rate == pytest.approx(config.lr * share), name
    still = replace(config, layer_decay=0.0, epochs=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, still, images, tmp_path, objective=CrossEntropy(), device="cpu", workers=0)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"norm", "head"}
