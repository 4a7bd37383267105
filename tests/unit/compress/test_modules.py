"""Passes that go layer by layer, on any module."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from mpcvit.compress import compress_module
from mpcvit.compress.fitting.module_layers import module_layers
from mpcvit.compress.passes import PASSES
from mpcvit.compress.passes.lpvit import LPViT
from mpcvit.compress.passes.mixed_rank import MixedRank
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.export.traced.factory import load_into
from mpcvit.models.low_rank import LowRank, multiplied_out
from mpcvit.store.trained import save_module_weights
from tests.support.hybrids import SIZE, Hybrid, hybrid
from tests.support.traced import Function, pictures

IMAGES = pictures(SIZE, 12)
GO_LAYER_BY_LAYER = {"mixed_rank", "lpvit"}


def test_layers_are_those_that_a_pass_can_change() -> None:
    """Not the last, none that is called twice or has a parameter that another module has."""
    assert module_layers(hybrid(), IMAGES) == ["fc1", "fc2"]

    def forward(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = module.twice(module.twice(module.once(x.flatten(1))))
        return module.last(module.tied(module.other(x)))

    layers = {name: nn.Linear(192 if name == "once" else 8, 8) for name in ("once", "twice", "other", "tied", "last")}
    layers["tied"].weight = layers["other"].weight
    assert module_layers(Function(forward, **layers), IMAGES) == ["once"]
    with pytest.raises(ConfigError, match="no linear layer before its last one"):
        module_layers(Function(lambda self, x: self.fc(x.flatten(1)), fc=nn.Linear(192, 3)), IMAGES)


@torch.no_grad()
def test_low_rank_layers_stay_near_and_survive_a_file(tmp_path: Path) -> None:
    """Fewer parameters, near logits; what another factory's module reads back is the same, multiplied out as well."""
    module = hybrid()
    before = copy.deepcopy(module.state_dict())
    smaller = compress_module(module, MixedRank(reduction=0.1, step=1), IMAGES)
    count, was = (sum(weight.numel() for weight in each.parameters()) for each in (smaller, module))
    assert count <= 0.9 * was
    assert isinstance(smaller.fc1, LowRank) or isinstance(smaller.fc2, LowRank)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    expected, found = module(IMAGES), smaller(IMAGES)
    assert (found - expected).norm() < 0.8 * expected.norm()
    save_module_weights(smaller, tmp_path)
    again = Hybrid().eval()
    load_into(again, tmp_path / "model.safetensors", "hybrid")
    assert torch.equal(again(IMAGES), found)
    plain = multiplied_out(again)
    assert not any(isinstance(layer, LowRank) for layer in plain.modules())
    assert torch.allclose(plain(IMAGES), found, atol=1e-5)
    with pytest.raises(ModelFileError, match="weights of another module"):
        load_into(Function(lambda self, x: x, fc9=nn.Linear(3, 3)), tmp_path / "model.safetensors", "other")


@torch.no_grad()
def test_blocks_become_zero_and_the_rest_makes_up_for_it() -> None:
    """As many zeros as were asked for, in the module's own form; a layer without bias has none afterwards."""
    module = hybrid()
    module.fc1.bias = None
    smaller = compress_module(module, LPViT(sparsity=0.3, block=2), IMAGES)
    weights = torch.cat([smaller.fc1.weight.flatten(), smaller.fc2.weight.flatten()])
    assert float((weights == 0).float().mean()) >= 0.3
    assert smaller.state_dict().keys() == module.state_dict().keys()
    expected = module(IMAGES)
    assert (smaller(IMAGES) - expected).norm() < 0.8 * expected.norm()


@pytest.mark.parametrize("name", sorted(set(PASSES) - GO_LAYER_BY_LAYER))
def test_passes_that_need_blocks_say_so(name: str) -> None:
    """Whatever their settings are."""
    chosen = object.__new__(PASSES[name])
    with pytest.raises(ConfigError, match=rf"the pass '{name}' for a module .*mixed_rank or lpvit"):
        compress_module(hybrid(), chosen, IMAGES)
