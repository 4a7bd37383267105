"""Passes as JSON and back, on timm's backbones, and settings that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from mpcvit.compress import Compression, compress
from mpcvit.compress.passes import PASSES
from mpcvit.compress.passes.evit import EvitPass
from mpcvit.compress.passes.lpvit import LPViT
from mpcvit.compress.passes.minivit import MiniViT
from mpcvit.compress.passes.mixed_rank import FitTarget, MixedRank
from mpcvit.compress.passes.nvit import Estimate, NViT
from mpcvit.compress.passes.repavit import RePaViT
from mpcvit.compress.passes.spvit import SpvitPass
from mpcvit.compress.passes.token_schedule import TokenSchedule
from mpcvit.compress.passes.window_pool import WindowPoolPass
from mpcvit.compress.settings import make_pass, pass_from_json
from mpcvit.errors import ConfigError, InputError
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.timm_import import Backbone, import_timm

EVERY = (
    MixedRank(reduction=0.3, fit=FitTarget.WEIGHTS),
    MiniViT(group=3),
    EvitPass(ratio=0.7, blocks=(3, 6)),
    SpvitPass(ratio=0.7, blocks=(3,), seed=5),
    TokenSchedule(cost=0.9, blocks=(6,), kind=ReductionKind.SPVIT),
    WindowPoolPass(blocks=(2,)),
    RePaViT(theta=0.5),
    NViT(cost=0.9, estimate=Estimate.DIMAP),
    LPViT(sparsity=0.3),
)


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_settings_survive_json(one: Compression) -> None:
    """Every pass comes back from a file as it was."""
    assert pass_from_json(json.loads(json.dumps(one.to_json()))) == one
    assert {one.name for one in EVERY} == set(PASSES)


@pytest.fixture(scope="module")
def deit() -> Backbone:
    """DeiT-Tiny with random weights for pictures of 64 x 64."""
    torch.manual_seed(0)
    return import_timm("deit_tiny_patch16_224", None, image_size=64, classes=5)


@pytest.mark.parametrize(
    "one", [one for one in EVERY if one.name not in ("nvit", "token_schedule")], ids=lambda one: one.name
)
def test_passes_take_timm_s_backbones(one: Compression, deit: Backbone) -> None:
    """A class token, biases and twelve blocks; nvit and token_schedule would export probes of that size for minutes."""
    torch.manual_seed(1)
    images = torch.randn(4, 3, 64, 64)
    smaller = compress(deit.model, one, images)
    with torch.inference_mode():
        logits = smaller(images)
    assert logits.shape == (4, 5)
    assert logits.isfinite().all()
    again = compress(deit.model, one, images)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in smaller.state_dict().items())


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenSchedule(cost=1.0, blocks=(1,)),
        lambda: TokenSchedule(cost=0.5, blocks=(1,), kind=ReductionKind.WINDOW_POOL),
        lambda: TokenSchedule(cost=0.5, blocks=(1,), profile="moon"),
        lambda: make_pass("evit", ["ratio=0.5", "blocks=1,2.0"]),
        lambda: make_pass("evit", ["ratio=0.5", "ratio=0.6", "blocks=1"]),
        lambda: pass_from_json({"ratio": 0.5}),
    ],
)
def test_wrong_settings_are_refused(make: Callable[[], Compression]) -> None:
    """Typed, before anything is computed."""
    with pytest.raises((ConfigError, InputError)):
        make()
