"""Passes that reduce the tokens of a trained model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from mpcvit.compress import Compression, compress
from mpcvit.compress.passes.evit import EvitPass
from mpcvit.compress.passes.spvit import SpvitPass
from mpcvit.compress.passes.token_schedule import TokenSchedule, schedule
from mpcvit.compress.passes.window_pool import WindowPoolPass
from mpcvit.errors import ConfigError, InputError
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from mpcvit.pricing.table import PriceTable
from tests.support.columns import column, configured, varied
from tests.support.images import make_images
from tests.support.models import make_model

#: 4 x 4 patches and a class token, four blocks.
BASE = configured(
    image_size=16,
    patch_size=4,
    classes=3,
    dim=12,
    hidden=16,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),) * 4,
    activation=(Activation.RELU,) * 4,
    class_token=True,
    lepe=4,
)


@pytest.mark.parametrize("kind", [EvitPass, SpvitPass])
def test_counts_follow_the_ratio_of_what_is_there(kind: type[EvitPass | SpvitPass]) -> None:
    """Rounded up, the class token besides, earlier reductions counted in: 16, then 11 with the fused one, then 8."""
    model, images = make_model(BASE), make_images(BASE, 4)
    smaller = compress(model, kind(ratio=0.6, blocks=(1, 3)), images)
    assert not smaller.training
    chosen = ReductionKind(kind.name)
    assert column(smaller.config, "reduction") == (
        None,
        Reduction(kind=chosen, keep=1 + 10),
        None,
        Reduction(kind=chosen, keep=1 + 7),
    )
    assert smaller.config.output_tokens.count == 9
    assert smaller(images).shape == (4, 3)
    assert model.config == BASE


def test_weights_stay() -> None:
    """Every weight is the trained one; LePE is gone where there is no grid; only selectors are new."""
    model, images = make_model(BASE), make_images(BASE, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    smaller = compress(model, SpvitPass(ratio=0.5, blocks=(2,)), images)
    after = smaller.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name in after)
    assert {name for name in before if name not in after} == {"blocks.2.attn.lepe.weight", "blocks.3.attn.lepe.weight"}
    assert all(name.startswith("blocks.2.entry.") for name in after if name not in before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    after["head.weight"].add_(1.0)
    assert torch.equal(model.head.weight, before["head.weight"])


@pytest.mark.parametrize("class_token", [False, True])
def test_selectors_begin_as_evit(class_token: bool) -> None:
    """Two selectors, one behind the other, follow the scores of a model of noise; the same for the same arguments."""
    config = replace(BASE, class_token=class_token)
    model, images = make_model(config), make_images(config, 16)
    said: list[str] = []
    smaller = compress(model, SpvitPass(ratio=0.5, blocks=(1, 2)), images, said.append)
    assert [line.partition(":")[0] for line in said] == ["blocks.1", "blocks.2"]
    assert all(float(line.rpartition(" ")[2]) > 0.5 for line in said)
    again = compress(model, SpvitPass(ratio=0.5, blocks=(1, 2)), images)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in smaller.state_dict().items())
    assert all(value.grad is None for value in smaller.parameters())


def test_a_schedule_of_selectors_begins_as_evit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a schedule chooses gets the same selectors that the pass itself gives, when a token costs a second."""
    model, images = make_model(BASE), make_images(BASE, 8)
    monkeypatch.setattr(PriceTable, "seconds", lambda table, config: sum(t.mlp.count for t in config.block_tokens))
    one = TokenSchedule(cost=0.9, blocks=(2,), kind=ReductionKind.SPVIT)
    said: list[str] = []
    smaller = compress(model, one, images, said.append)
    ratio = int(next(line for line in said if "kept in block 2" in line).partition("%")[0]) / 100
    wanted = compress(model, SpvitPass(ratio=ratio, blocks=(2,)), images).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in smaller.state_dict().items())


def test_reductions_of_the_last_class_token_block_change_nothing_there() -> None:
    """EViT behind the last attention cannot reach the class token: the logits are the same."""
    model, images = make_model(BASE), make_images(BASE, 4)
    smaller = compress(model, EvitPass(ratio=0.5, blocks=(3,)), images)
    with torch.inference_mode():
        assert torch.allclose(smaller(images), model(images), atol=1e-5)


@pytest.mark.parametrize("kind", [EvitPass, SpvitPass])
def test_a_ratio_of_one_changes_nothing(kind: type[EvitPass | SpvitPass]) -> None:
    """Neither configuration nor answers."""
    model, images = make_model(BASE), make_images(BASE, 4)
    same = compress(model, kind(ratio=1.0, blocks=(0, 2)), images)
    assert same.config == BASE
    with torch.inference_mode():
        assert torch.equal(same(images), model(images))


def test_passes_add_up() -> None:
    """Pooling before selecting; every pass counts the tokens that the earlier ones left."""
    model, images = make_model(BASE), make_images(BASE, 2)
    smaller = compress(compress(model, WindowPoolPass(blocks=(1,)), images), EvitPass(ratio=0.5, blocks=(2,)), images)
    assert [tokens.mlp.count for tokens in smaller.config.block_tokens] == [17, 5, 4, 4]
    twice = compress(model, WindowPoolPass(blocks=(0, 2)), images)
    assert [tokens.mlp.count for tokens in twice.config.block_tokens] == [5, 5, 2, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: EvitPass(ratio=0.0, blocks=(1,)),
        lambda: EvitPass(ratio=1.01, blocks=(1,)),
        lambda: SpvitPass(ratio=-0.5, blocks=(1,)),
        lambda: SpvitPass(ratio=float("nan"), blocks=(1,)),
        lambda: EvitPass(ratio=0.5, blocks=()),
        lambda: EvitPass(ratio=0.5, blocks=(2, 1)),
        lambda: SpvitPass(ratio=0.5, blocks=(1, 1)),
        lambda: WindowPoolPass(blocks=(-1,)),
        lambda: WindowPoolPass(blocks=(0,), window=1),
    ],
)
def test_impossible_settings_are_refused(make: object) -> None:
    """Ratios outside (0, 1], no blocks, blocks twice or not in order, and windows of one patch."""
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    "config",
    [
        EvitPass(ratio=0.5, blocks=(4,)),
        SpvitPass(ratio=0.5, blocks=(0, 9)),
        WindowPoolPass(blocks=(0,), window=3),
        WindowPoolPass(blocks=(0, 1, 2)),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(config: Compression) -> None:
    """Blocks that it does not have, windows that do not divide."""
    with pytest.raises(ConfigError) as caught:
        compress(make_model(BASE), config, make_images(BASE, 2))
    assert caught.value.remedy


def test_what_cannot_follow_a_selection_is_refused() -> None:
    """Pooling behind it, heads with places, a second reduction in a block, weights that depend on the count."""
    images = make_images(BASE, 2)
    selected = compress(make_model(BASE), EvitPass(ratio=0.5, blocks=(1,)), images)
    for wrong in (WindowPoolPass(blocks=(2,)), SpvitPass(ratio=0.5, blocks=(1,))):
        with pytest.raises(ConfigError):
            compress(selected, wrong, images)
    placed = make_model(
        varied(BASE, heads=(*column(BASE, "heads")[:3], (AttentionKind.LINFORMER, AttentionKind.SCALING)))
    )
    with pytest.raises(ConfigError, match="linformer heads in block 3"):
        compress(placed, EvitPass(ratio=0.5, blocks=(1,)), images)
    with pytest.raises(ConfigError, match="key_projection"):
        compress(placed, WindowPoolPass(blocks=(1,)), images)
    with pytest.raises(InputError):
        compress(selected, EvitPass(ratio=0.5, blocks=(2,)), torch.zeros(2, 3, 9, 9))


def test_models_with_other_weights_are_refused() -> None:
    """What the configuration does not say would be lost."""
    model = make_model(BASE)
    model.register_buffer("scale", torch.ones(1))
    with pytest.raises(ConfigError, match="scale"):
        compress(model, EvitPass(ratio=0.5, blocks=(1,)), make_images(BASE, 2))


def test_settings_as_json() -> None:
    """With the pass' name."""
    document = json.loads(json.dumps(EvitPass(ratio=0.7, blocks=(2, 4)).to_json()))
    assert document == {"pass": "evit", "ratio": 0.7, "blocks": [2, 4], "ranking": "products"}
    assert WindowPoolPass(blocks=(1,)).to_json() == {"pass": "window_pool", "blocks": (1,), "window": 2}


def tokens_of(config: ViTConfig) -> float:
    """A price: every token of every block, and 4 for each reduction."""
    counts = sum(tokens.attention.count + tokens.mlp.count for tokens in config.block_tokens)
    return counts + 4.0 * sum(reduction is not None for reduction in column(config, "reduction"))


def apply(model: VisionTransformer, stages: tuple[tuple[int, float], ...]) -> VisionTransformer:
    """``model`` after a schedule's passes."""
    for block, ratio in stages:
        model = compress(model, EvitPass(ratio=ratio, blocks=(block,)), make_images(BASE, 2))
    return model


@pytest.mark.parametrize("budget", [140.0, 120.0, 100.0])
def test_a_schedule_meets_its_budget(budget: float) -> None:
    """Within the budget; no stage could keep more; costs are asked once per configuration."""
    model, images, asked = make_model(BASE), make_images(BASE, 16), []

    def cost(config: ViTConfig) -> float:
        asked.append(config)
        return tokens_of(config)

    stages = schedule(model, images, blocks=(1, 2), cost=cost, budget=budget)
    config = apply(model, stages).config
    assert tokens_of(config) <= budget
    assert len(asked) == len(set(asked))
    assert (stages == ()) == (tokens_of(BASE) <= budget)
    assert all(block in (1, 2) and 0.3 <= ratio < 1 for block, ratio in stages)
    for block, ratio in stages:
        milder = tuple((other, kept if other != block else kept + 0.1) for other, kept in stages)
        if ratio < 0.9 and len(stages) == 1:
            assert tokens_of(apply(model, milder).config) > budget


def test_a_schedule_spares_what_matters() -> None:
    """Of two stages that save alike, the one is taken whose tokens the answers depend on less."""
    model, images = make_model(BASE), make_images(BASE, 16)
    (stage,) = schedule(
        model,
        images,
        blocks=(0, 3),
        cost=lambda config: float(not any(column(config, "reduction"))),
        budget=0.5,
    )
    assert stage[0] == 3  # behind the last attention a class token reads nothing


def test_schedules_that_cannot_be() -> None:
    """Budgets below the least, kinds without ratios, blocks that are not there."""
    model, images = make_model(BASE), make_images(BASE, 4)
    with pytest.raises(ConfigError, match="a budget of 10") as caught:
        schedule(model, images, blocks=(1, 2), cost=tokens_of, budget=10.0)
    assert "at least" in caught.value.expected
    with pytest.raises(ConfigError, match="window_pool"):
        schedule(model, images, blocks=(1,), cost=tokens_of, budget=100.0, kind=ReductionKind.WINDOW_POOL)
    with pytest.raises(ConfigError):
        schedule(model, images, blocks=(7,), cost=tokens_of, budget=100.0)
