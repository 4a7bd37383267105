"""Pruning of heads and channels: importances against finite differences, removal against zeroing, the greedy choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.fitting.calibration import inputs_of
from mpcvit.compress.passes.nvit import Estimate, NViT, prune_globally
from mpcvit.compress.pruning.dimap import data_free_importance
from mpcvit.compress.pruning.importance import sampled_loss, taylor_importance, unit_moments
from mpcvit.compress.pruning.prune import Kept, pruned, pruned_config
from mpcvit.errors import ConfigError, InputError
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.link_profile import LAN, WAN
from mpcvit.models.block import LayerRanks
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from mpcvit.pricing.table import PriceTable
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, IDENTITY, QUAD, QUICK, RELU, channels, make_variant
from tests.support.models import make_model

SM, RS, SC, Q2 = AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING, AttentionKind.QUAD2
CONFIG = varied(BASE, heads=((SC, Q2, Q2), (SM, SC, SM)), activation=(QUAD, RELU), lepe=3, gmm=2)
IMAGES = make_images(CONFIG, 24)
KEPT = Kept(((0, 2), (1,)), (tuple(range(0, 16, 2)), (3,)))


def _units(config: ViTConfig) -> float:
    """A cost: five per head, one per channel."""
    return 5.0 * sum(map(len, column(config, "heads"))) + sum(column(config, "hidden"))


def test_removed_units_are_zeroed_ones() -> None:
    """Without means, the pruned model is the whole one in which nothing reads what goes."""
    model = make_model(CONFIG)
    result = pruned(model, KEPT)
    assert result.config == pruned_config(CONFIG, KEPT)
    assert column(result.config, "heads") == ((SC, Q2), (SC,))
    assert (column(result.config, "hidden"), result.config.lepe, result.config.head_width) == ((8, 1), 2, 4)
    with torch.no_grad():
        for block, heads, kept in zip(model.blocks, KEPT.heads, KEPT.channels, strict=True):
            gone = [i for head in set(range(3)) - set(heads) for i in range(4 * head, 4 * head + 4)]
            block.attn.proj.weight[:, gone] = 0
            block.mlp.fc2.weight[:, sorted(set(range(16)) - set(kept))] = 0
        assert torch.allclose(result(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize("kind", ReductionKind)
def test_nothing_removed_is_the_same_model(kind: ReductionKind) -> None:
    """With all heads and channels kept, also where tokens get fewer and a block has no convolution."""
    keep = 4 if kind is ReductionKind.WINDOW_POOL else 6
    reductions = (Reduction(kind=kind, keep=keep), None)
    config = varied(CONFIG, image_size=16, gmm=0, class_token=kind is ReductionKind.EVIT, reduction=reductions)
    model, images = make_model(config), make_images(config, 8)
    result = pruned(model, Kept.everything(config), unit_moments(model, images))
    assert torch.equal(result(images), model(images))
    assert pruned_config(result.config, Kept.everything(result.config)) == result.config


def test_what_stays_stands_in_for_what_goes() -> None:
    """The branch of which units go keeps its mean, and is nearer to what it was than with any other weights."""
    model = make_model(CONFIG)
    kept = Kept.everything(CONFIG).with_heads(0, (1,))
    plain, fitted = pruned(model, kept), pruned(model, kept, unit_moments(model, IMAGES))
    with torch.no_grad():
        before, without, after = (one.intermediates(IMAGES)[1]["block0.attn"] for one in (model, plain, fitted))
    assert torch.allclose(before.mean((0, 1)), after.mean((0, 1)), atol=1e-4)
    read = inputs_of(fitted, "blocks.0.attn.proj", IMAGES).double()
    ones = torch.cat([read, torch.ones(len(read), 1)], dim=1)
    best = ones @ torch.linalg.lstsq(ones, before.flatten(0, 1).double()).solution
    errors = [float((one.reshape(before.shape) - before).square().mean()) for one in (without, after, best)]
    assert errors[1] == pytest.approx(errors[2], rel=1e-3)
    assert errors[1] < 0.9 * errors[0]


def test_gates_follow_their_channels() -> None:
    """Kept channels are renumbered; where only idle ones are left there is no activation."""
    config = varied(BASE, activation=(RELU, QUAD), gate=(channels(1, 4, 6), channels(0)))
    model = make_model(config)
    kept = Kept.everything(config).with_channels(0, (0, 4, 5, 6)).with_channels(1, (7, 8))
    result = pruned(model, kept)
    assert column(result.config, "gate") == (channels(1, 3), None)
    assert column(result.config, "activation") == (RELU, IDENTITY)
    images = make_images(config, 4)
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight[:, [1, 2, 3, *range(7, 16)]] = 0
        model.blocks[1].mlp.fc2.weight[:, [*range(7), *range(9, 16)]] = 0
        assert torch.allclose(result(images), model(images), atol=1e-5)


def test_importance_is_the_squared_derivative_of_a_switch() -> None:
    """Against finite differences, picture by picture: half the mean square of what an epsilon of a unit changes."""
    model = make_model(CONFIG).double()
    images = IMAGES.double()
    given = unit_moments(model, images)
    importance = taylor_importance(model, images, given, seed=3)
    with torch.no_grad():
        cumulative = model(images).softmax(1).cumsum(1)
    labels = (cumulative < torch.from_numpy(np.random.default_rng(3).random((len(images), 1)))).sum(1)

    def losses(block: int, layer: str, index: list[int], switch: float) -> torch.Tensor:
        module = model.blocks[block].get_submodule(layer)
        mean = (given[block].heads if layer == "attn.proj" else given[block].channels).mean

        def scale(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
            x = inputs[0].clone()
            x[..., index] = mean[index] + switch * (x[..., index] - mean[index])
            return x

        hook = module.register_forward_pre_hook(scale)
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(model(images), labels, reduction="none")
        hook.remove()
        return loss

    for block, layer, unit, width in ((0, "attn.proj", 1, 4), (1, "attn.proj", 2, 4), (0, "mlp.fc2", 5, 1)):
        index = list(range(unit * width, (unit + 1) * width))
        change = (losses(block, layer, index, 1 + 1e-5) - losses(block, layer, index, 1 - 1e-5)) / 2e-5
        got = (importance.heads if layer == "attn.proj" else importance.channels)[block][unit]
        assert float(got) == pytest.approx(float(change.square().mean() / 2), rel=1e-3)


def test_labels_follow_the_softmax() -> None:
    """Each class is drawn as often as the model says, and the same seed draws the same."""
    logits = torch.tensor([[2.0, 0.0, -1.0]]).repeat(20_000, 1).requires_grad_()
    sampled_loss(logits, np.random.default_rng(0)).backward()
    # the gradient is softmax minus the drawn label, in sum the number of drawn labels
    drawn = 20_000 * logits[0].softmax(0) - logits.grad.sum(0)
    assert torch.allclose(drawn / 20_000, logits[0].softmax(0), atol=0.01)
    first, second = (sampled_loss(logits.detach(), np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(first, second)


def test_data_free_importance_is_energy_within_modules() -> None:
    """Shares of a module add up to 1, do not change with its scale, and vanish for what adds to the mean alone."""
    model = make_model(CONFIG)
    before = data_free_importance(model)
    assert all(float(part.sum()) == pytest.approx(1) for part in [*before.heads, *before.channels])
    with torch.no_grad():
        gain, block = model.blocks[1].norm1.weight, model.blocks[1]
        value = (block.attn.qkv.weight[24 + 4 : 24 + 8] * gain).double()
        out = block.attn.proj.weight[:, 4:8].double()
        energy = (value.T @ (out - out.mean(0)).T).square().sum()
        model.blocks[0].mlp.fc1.weight *= 7
        model.blocks[0].mlp.fc2.weight[:, 2] = 0.5
        block.attn.proj.weight[:, 0:4] = 0
        block.attn.proj.weight[:, 8:12] = 0
    after = data_free_importance(model)
    assert float(after.channels[0][2]) == pytest.approx(0, abs=1e-12)
    left = torch.arange(16) != 2
    ratio = after.channels[0][left] / before.channels[0][left]
    assert torch.allclose(ratio, ratio[0].expand(15))
    assert after.heads[1].tolist() == pytest.approx([0, 1, 0])
    assert float(energy) > 0


def _perplexity_gap(model: VisionTransformer, other: VisionTransformer) -> float:
    """Divergence of answers on other pictures."""
    images = make_images(CONFIG, 200, seed=8)
    with torch.no_grad():
        ours, theirs = model(images).log_softmax(1), other(images).log_softmax(1)
    return float(torch.nn.functional.kl_div(theirs, ours, reduction="batchmean", log_target=True))


def test_what_is_missed_least_goes() -> None:
    """The cost asked for is met, just; answers stay nearer than with random units gone at the same sizes."""
    model, steps = make_model(CONFIG, gain=2.0), []
    settings = NViT(cost=0.7, granularity=1, refreshes=2)
    images = make_images(CONFIG, 128)
    result = prune_globally(model, images, settings, _units, lambda kept, share: steps.append(share))
    assert 0.7 - 5 / _units(CONFIG) < _units(result.config) / _units(CONFIG) <= 0.7
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == pytest.approx(_units(result.config) / _units(CONFIG))
    rng, gaps = np.random.default_rng(0), []
    for _ in range(20):
        kept = Kept(
            tuple(
                tuple(sorted(rng.choice(3, len(row), replace=False).tolist())) for row in column(result.config, "heads")
            ),
            tuple(
                tuple(sorted(rng.choice(16, width, replace=False).tolist()))
                for width in column(result.config, "hidden")
            ),
        )
        gaps.append(_perplexity_gap(model, pruned(model, kept, unit_moments(model, images))))
    assert _perplexity_gap(model, result) < np.quantile(gaps, 0.1)


def test_the_last_dear_head_counts() -> None:
    """Where only a block without softmax heads is cheaper, both softmax heads of a block go together."""
    model = make_model(varied(CONFIG, heads=((SM, SC, SM), (SM, SC, SM)), gmm=0, activation=(RELU, RELU)))

    def blocks_with_softmax(config: ViTConfig) -> float:
        return 1.0 + sum(SM in row for row in column(config, "heads"))

    result = prune_globally(model, IMAGES, NViT(cost=0.7, refreshes=1), blocks_with_softmax)
    assert sorted(column(result.config, "heads")) == [(SC,), (SM, SC, SM)]
    assert column(result.config, "hidden") == (16, 16)


def test_data_free_pruning_looks_at_no_picture() -> None:
    """With DIMAP's estimate other pictures give the same model."""
    model, settings = make_model(CONFIG), NViT(cost=0.8, granularity=2, estimate=Estimate.DIMAP)
    results = [prune_globally(model, make_images(CONFIG, 4, seed=seed), settings, _units) for seed in (1, 2)]
    assert results[0].config == results[1].config
    assert all(torch.equal(a, b) for a, b in zip(results[0].parameters(), results[1].parameters(), strict=True))


def test_the_search_prices_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass asks the search's table for its network."""
    model, settings, asked = make_model(CONFIG), NViT(cost=0.8, profile="lan", granularity=2), []

    def price(table: PriceTable, config: ViTConfig) -> float:
        asked.append(table.profile)
        return _units(config)

    monkeypatch.setattr(PriceTable, "seconds", price)
    result = compress(model, settings, IMAGES)
    assert set(asked) == {LAN}
    assert result.config == prune_globally(model, IMAGES, settings, _units).config


def test_pruning_under_real_prices() -> None:
    """A model pruned to 95 % of its price on a WAN costs that, and exports."""
    config = varied(BASE, heads=((RS, SC),) * 2)
    model, images = make_variant(config), make_images(config, 32)
    prices = PriceTable(WAN, precision=Precision(margin=1.5, relative=2.0**-6, calibrated=True))
    result = prune_globally(model, images, NViT(cost=0.95, refreshes=1), prices.seconds)
    assert prices.seconds(result.config) <= 0.95 * prices.seconds(config)
    assert column(result.config, "hidden") == (16, 16)  # as many as go at a time
    assert export_vit(result, images[:8], QUICK).fidelity < 1e-9


def test_wrong_settings_and_models_are_refused() -> None:
    """Numbers out of range, networks that do not exist, costs that cannot be reached, models that are compressed."""
    for wrong in ({"cost": 0.0}, {"cost": 1.0}, {"granularity": 0}, {"refreshes": 0}):
        with pytest.raises(ConfigError, match="share between"):
            NViT(**{"cost": 0.5, **wrong})
    with pytest.raises(InputError, match="network"):
        NViT(cost=0.5, profile="moon")
    with pytest.raises(ConfigError, match="at least 12, with one head"):
        prune_globally(make_model(CONFIG), IMAGES, NViT(cost=0.01, granularity=1, refreshes=1), _units)
    for change in ({"ranks": (LayerRanks(qkv=2), LayerRanks())}, {"owners": (0, 0)}):
        with pytest.raises(ConfigError, match="before the pass 'nvit'"):
            prune_globally(make_model(varied(BASE, **change)), IMAGES, NViT(cost=0.5), _units)


def test_training_between_steps_brings_answers_back() -> None:
    """Less divergence from the whole model than without, at the same sizes or others; the whole model stays."""
    model, images = make_model(BASE), make_images(BASE, 64)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    settings = NViT(cost=0.7, granularity=4, refreshes=2)
    apart = []
    for training in (0, 30):
        smaller = prune_globally(model, images, replace(settings, training=training, rate=3e-3), _units)
        assert _units(smaller.config) <= 0.7 * _units(BASE)
        with torch.no_grad():
            wanted, got = (one(images).log_softmax(-1) for one in (model, smaller))
        apart.append(float(torch.nn.functional.kl_div(got, wanted, reduction="batchmean", log_target=True)))
    assert apart[1] < 0.7 * apart[0]
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    for wrong in ({"training": -1}, {"rate": 0.0}):
        with pytest.raises(ConfigError, match="gradient steps"):
            replace(settings, **wrong)
