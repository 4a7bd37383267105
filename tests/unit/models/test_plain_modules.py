"""Plain modules: what reads what, and in which order."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d

from mpcvit.export.traced.factory import module_facts
from mpcvit.models.plain.bag_pooling import BagPooling
from mpcvit.models.plain.blocks import patches
from mpcvit.models.plain.channel_tokens import ChannelTokens, sampled_channels
from mpcvit.models.plain.class_prompts import ClassPrompts
from tests.support.plain_modules import CASES
from tests.support.traced import enlivened

FOLDER = Path(__file__).resolve().parents[3] / "mpcvit" / "models" / "plain"
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"__init__", "blocks"})


def test_every_file_has_a_case() -> None:
    """What is there is compared on shares."""
    assert set(FILES) == set(CASES)


@pytest.mark.parametrize("name", FILES)
def test_factories_say_what_their_modules_read(name: str) -> None:
    """A module that answers one input of its shape, alike with another one beside it."""
    module = importlib.import_module(f"mpcvit.models.plain.{name}").build().eval()
    facts = module_facts(module, None, None, None)
    torch.manual_seed(0)
    two = torch.randn(2, *facts.input.shape)
    with torch.no_grad():
        both = module(two)
        assert both.shape[0] == 2
        assert both.ndim in (2, 4)
        assert torch.allclose(both[:1], module(two[:1]), atol=1e-5)


def test_patches_are_those_of_a_convolution() -> None:
    """In their order, and channels before rows before columns within one."""
    pictures, weight = torch.randn(2, 3, 6, 4), torch.randn(5, 3, 2, 2)
    rows = patches(pictures, 2) @ weight.flatten(1).T
    assert torch.allclose(rows, conv2d(pictures, weight, stride=2).flatten(2).mT, atol=1e-5)


@torch.no_grad()
def test_bags_have_no_order() -> None:
    """Pictures in another order answer alike; pooling is Ilse's equation 9."""
    module = enlivened(BagPooling(3, 8, 4, 12, 1))
    bags = torch.randn(1, 3, 3, 8, 8)
    assert torch.allclose(module(bags), module(bags[:, [2, 0, 1]]), atol=1e-5)
    h = module.features(bags)[0]
    gated = torch.tanh(module.tanh(h)) * torch.sigmoid(module.gate(h))
    scores = torch.exp(module.score(gated))
    pooled = (scores * h).sum(0) / scores.sum()
    assert torch.allclose(module(bags)[0], module.head(pooled), atol=1e-5)


@torch.no_grad()
def test_channels_that_are_missing_shorten_the_sequence() -> None:
    """A channel keeps its embedding, whichever others are there; samples have every size."""
    whole, part = (enlivened(ChannelTokens(3, present, 8, 4, 12, 1)) for present in (None, (2, 0)))
    part.load_state_dict(whole.state_dict())
    seen: list[torch.Tensor] = []
    for module in (whole, part):
        module.blocks.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stacks = torch.randn(1, 3, 8, 8)
    whole(stacks)
    part(stacks[:, [2, 0]])
    assert [x.shape[1] for x in seen] == [13, 9]
    assert torch.allclose(seen[1][:, 1:], torch.cat([seen[0][:, 9:], seen[0][:, 1:5]], dim=1), atol=1e-6)
    torch.manual_seed(0)
    draws = [sampled_channels(3) for _ in range(60)]
    assert {len(draw) for draw in draws} == {1, 2, 3}
    assert all(draw == sorted(set(draw)) for draw in draws)
    whole.train()
    torch.manual_seed(0)
    for _ in range(8):
        whole(stacks)
    assert len({x.shape[1] for x in seen[2:]}) > 1


@torch.no_grad()
def test_prompts_explain_their_class() -> None:
    """What a prompt attends to is what its logit is made of: the softmax of its row."""
    module = enlivened(ClassPrompts(8, 4, 12, 2, classes=3))
    traits = module.traits(torch.randn(2, 3, 8, 8), 1)
    assert traits.shape == (2, 2, 2, 2)
    assert bool((traits.flatten(2).sum(-1) < 1).all())
    assert bool((traits > 0).all())
    assert len(set(module(torch.randn(1, 3, 8, 8))[0].tolist())) == 3
