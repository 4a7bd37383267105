"""Blocks that begin to share weights: which start is taken, what stays, what it saves under MPC."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.passes.minivit import GroupStart, MiniViT, share_blocks
from mpcvit.errors import ConfigError
from mpcvit.models.block import LayerRanks
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.transformations import Transformations
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, QUAD
from tests.support.models import make_model
from tests.support.structure_variants import SC, THREE

CONFIG = replace(THREE, lepe=2)
IMAGES = make_images(CONFIG, 80)


def _alike(config: ViTConfig, noise: float) -> VisionTransformer:
    """A model whose first two blocks differ in their own parameters, and in the others by ``noise``."""
    model = make_model(config)
    with torch.no_grad():
        first, second = (dict(model.blocks[number].named_parameters()) for number in (0, 1))
        for name, parameter in second.items():
            if name.endswith("weight") and "lepe" not in name:
                parameter.copy_(first[name] + noise * torch.randn_like(parameter))
    return model


def test_equal_blocks_lose_nothing() -> None:
    """Where a group's matrices are equal, biases, norm biases and convolutions of the blocks stay what they were."""
    model = _alike(CONFIG, 0.0)
    result = compress(model, MiniViT(transform=False), IMAGES)
    assert result.config == varied(CONFIG, owners=(0, 0, 2))
    with torch.no_grad():
        assert torch.allclose(result(IMAGES), model(IMAGES), atol=1e-4)
    assert not torch.equal(result.blocks[0].attn.lepe.weight, result.blocks[1].attn.lepe.weight)


def test_equal_folded_blocks_lose_nothing() -> None:
    """Gains count as part of the matrices: blocks that differ by a factor between the two are alike."""
    model = _alike(CONFIG, 0.0)
    with torch.no_grad():
        block, factors = model.blocks[1], torch.linspace(0.5, 2, CONFIG.dim)
        block.norm1.weight.div_(factors)
        block.attn.qkv.weight.mul_(factors)
        before = model(IMAGES)
        assert torch.allclose(compress(model, MiniViT(), IMAGES)(IMAGES), before, atol=1e-4)


def test_transformations_begin_as_nothing_and_are_each_blocks_own() -> None:
    """Blocks of groups get mixtures, filters and gains; answers are what they are without, until these learn."""
    model = _alike(CONFIG, 0.1)
    plain, own = (compress(model, MiniViT(transform=transform), IMAGES) for transform in (False, True))
    assert [block.transformations for block in own.config.blocks] == [Transformations(), Transformations(), None]
    with torch.no_grad():
        assert torch.allclose(own(IMAGES), plain(IMAGES), atol=1e-5)
        for number in (0, 1):
            own.blocks[number].norm1.weight.mul_(1 + number)
    assert torch.equal(own.blocks[1].norm1.weight, 2 * own.blocks[0].norm1.weight)
    assert own.blocks[1].attn.qkv.weight is own.blocks[0].attn.qkv.weight
    assert own.blocks[1].mlp.convolution.weight is not own.blocks[0].mlp.convolution.weight


def test_transformations_fit_the_block() -> None:
    """Heads of several kinds do not mix, and tokens without a grid have no neighbours."""
    mixed = varied(BASE, heads=((SC, AttentionKind.SQUARE),) * 2)
    result = compress(make_model(mixed), MiniViT(), make_images(mixed, 8))
    assert result.config.blocks[0].transformations == Transformations(heads=False)
    selected = varied(THREE, reduction=(Reduction(kind=ReductionKind.SPVIT, keep=5), None, None))
    result = compress(make_model(selected), MiniViT(), make_images(selected, 8))
    assert result.config.blocks[1].transformations == Transformations(convolution=0)


def test_the_nearer_start_is_taken() -> None:
    """Both are tried, and the result has the lesser error behind the group."""
    model, lines = _alike(CONFIG, 0.1), []
    result = share_blocks(model, IMAGES, MiniViT(), lambda *line: lines.append(line))
    assert [(first, start) for first, start, _ in lines] == [(0, GroupStart.MEAN), (0, GroupStart.FIRST)]
    with torch.no_grad():
        lost = model.intermediates(IMAGES)[1]["block1"] - result.intermediates(IMAGES)[1]["block1"]
    error = float((lost - lost.mean(-1, keepdim=True)).square().mean())
    assert error == pytest.approx(min(error for *_, error in lines), rel=1e-3)


def test_the_last_group_may_be_smaller() -> None:
    """Five blocks in groups of three are a group of three and one of two; parameters fall accordingly."""
    config = varied(BASE, heads=((SC, SC),) * 5, activation=(QUAD,) * 5)
    model = make_model(config)
    result = compress(model, MiniViT(group=3, transform=False), IMAGES)
    assert result.config.owners == (0, 0, 0, 3, 3)
    matrices = 12 * 36 + 12 * 12 + 2 * 12 * 16
    saved = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in result.parameters())
    assert saved == 3 * (matrices + 2 * 12 + 3)


def test_groups_end_where_blocks_differ() -> None:
    """A searched model: blocks of other heads share among themselves, and the pairs that are alike are taken."""
    relu = (AttentionKind.RELU_SOFTMAX,) * 2
    config = varied(BASE, heads=((SC, SC),) * 3 + (relu,) * 3, activation=(QUAD,) * 6)
    assert compress(make_model(config), MiniViT(), make_images(config, 8)).config.owners == (0, 0, 2, 3, 3, 5)


def test_wrong_settings_and_models_are_refused() -> None:
    """Groups of one, blocks that differ, models that are compressed already."""
    with pytest.raises(ConfigError, match="at least 2"):
        MiniViT(group=1)
    settings = MiniViT()
    mixed = varied(BASE, heads=((SC, SC), (SC, AttentionKind.SQUARE)))
    with pytest.raises(ConfigError, match="no two neighbours"):
        compress(make_model(mixed), settings, IMAGES)
    for change in ({"ranks": (LayerRanks(qkv=2), LayerRanks())}, {"owners": (0, 0)}):
        with pytest.raises(ConfigError, match="before the pass 'minivit'"):
            compress(make_model(varied(BASE, **change)), settings, IMAGES)
