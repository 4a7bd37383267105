"""Relevance: its rules, its conservation through whole models, and the bits that layers get by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from mpcvit.errors import ConfigError, InputError
from mpcvit.models.config import Activation, AttentionKind, Gate, GateAxis, Norm, ViTConfig
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.lrp import allocate, contribution, multiplications, relevance
from mpcvit.quantize.relevance import through_linear, through_mean, through_product, through_sum
from tests.conftest import make_images, make_model

CONFIG = ViTConfig(
    image_size=8,
    patch_size=2,
    classes=3,
    dim=12,
    hidden=16,
    heads=((AttentionKind.SOFTMAX, AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX),) * 2,
    activations=(Activation.GELU, Activation.RELU),
    pooled_side=2,
    linformer_rank=5,
)
UNIFORM = QuantizeConfig(method=Method.REPQ, bits=Bits(weight=4, activation=4))


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_linear_rule_by_hand() -> None:
    """Output 1 is 2 + 3 - 4: relevance 10 is shared 4 to 6. Output 2 has no positive part: 3 is shared evenly."""
    x = torch.tensor([[1.0, 3.0, -2.0]])
    weight = torch.tensor([[2.0, 1.0, 2.0], [-1.0, -1.0, 1.0]])
    assert through_linear(x, weight, torch.tensor([[10.0, 3.0]])).tolist() == [[5.0, 7.0, 1.0]]


def test_product_rule_is_the_linear_rule_on_either_side() -> None:
    """Each operand gets half of what it would get if the other one were a weight."""
    torch.manual_seed(0)
    left, right, flow = _normal(2, 4, 5), _normal(2, 5, 3), _normal(2, 4, 3).abs()
    of_left, of_right = through_product(left, right, flow)
    for number in range(2):
        by_rows = through_linear(left[number], right[number].mT, flow[number])
        by_columns = through_linear(right[number].mT, left[number], flow[number].mT)
        assert torch.allclose(of_left[number], by_rows / 2)
        assert torch.allclose(of_right[number], by_columns.mT / 2)


def test_sums_and_means_share_by_magnitude() -> None:
    """Also where terms cancel, and evenly where all are 0."""
    first, second = torch.tensor([1.0, -3.0, 0.0]), torch.tensor([3.0, 3.0, 0.0])
    shares = through_sum(first, second, torch.tensor([8.0, 8.0, 8.0]))
    assert [share.tolist() for share in shares] == [[2.0, 4.0, 4.0], [6.0, 4.0, 4.0]]
    x = torch.tensor([[[1.0, 0.0], [-3.0, 0.0]]])
    assert through_mean(x, torch.tensor([[8.0, 8.0]])).tolist() == [[[2.0, 4.0], [6.0, 4.0]]]


RULES: dict[str, Callable[[torch.Tensor], Any]] = {
    "linear": lambda flow: through_linear(_normal(4, 6, 7), _normal(5, 7), flow),
    "product": lambda flow: torch.cat(
        [part.flatten() for part in through_product(_normal(4, 6, 7), _normal(4, 7, 5), flow)]
    ),
    "sum": lambda flow: torch.stack(through_sum(_normal(4, 6, 5), _normal(4, 6, 5), flow)),
    "mean": lambda flow: (
        through_mean(_normal(4, 9, 5), flow[:, 0]) + through_mean(_normal(4, 9, 5), flow[:, 1:].sum(1))
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_lose_nothing(rule: str) -> None:
    """What comes out of a rule is at least 0 and sums to what went in."""
    torch.manual_seed(1)
    flow = _normal(4, 6, 5).abs()
    result = RULES[rule](flow)
    assert result.min() >= 0
    assert float(result.sum()) == pytest.approx(float(flow.sum()))


def _of_kind(kind: AttentionKind, **fields: Any) -> ViTConfig:
    return replace(CONFIG, heads=((kind,) * 3,) * 2, **fields)


MODELS = {
    "mixed": CONFIG,
    **{kind.value: _of_kind(kind) for kind in AttentionKind},
    "class-token": replace(CONFIG, class_token=True),
    "lepe": replace(CONFIG, lepe=6, class_token=True),
    "masked": replace(CONFIG, gmm=2),
    "gates-norms": replace(
        CONFIG,
        gates=(Gate(axis=GateAxis.TOKEN, kept=(1, 2)), Gate(axis=GateAxis.CHANNEL, kept=(0, 5))),
        norms=((Norm.AFFINE, Norm.BATCHNORM),) * 2,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_relevance_is_conserved_through_a_model(name: str) -> None:
    """For every picture, pixels and embeddings together hold the 1 that left the logits; every layer passes a part."""
    model = make_model(MODELS[name]).requires_grad_(False)
    found = relevance(model, make_images(model.config, 4))
    total = found.patches.sum(dim=(1, 2)) + found.embeddings
    assert torch.allclose(total, torch.ones_like(total), atol=1e-9)
    assert found.patches.min() >= 0
    assert found.layers.keys() == multiplications(model.config).keys()
    assert all(0 <= value <= 1 + 1e-9 for value in found.layers.values())


@pytest.mark.parametrize("name", ["mixed", "class-token"])
def test_layers_of_a_branch_pass_the_same_relevance(name: str) -> None:
    """Conservation inside branches: what enters proj leaves qkv, and what enters fc2 leaves fc1."""
    model = make_model(MODELS[name]).requires_grad_(False)
    layers = contribution(model, make_images(model.config, 20))
    for block in ("blocks.0", "blocks.1"):
        attention = [layers[f"{block}.attn{part}"] for part in (".proj", "", ".qkv")]
        assert attention == pytest.approx([attention[0]] * 3)
        assert layers[f"{block}.mlp.fc1"] == pytest.approx(layers[f"{block}.mlp.fc2"])
    assert layers["head"] == pytest.approx(1.0)


def test_contribution_is_the_mean_over_pictures() -> None:
    """Whatever the batches."""
    model = make_model(CONFIG).requires_grad_(False)
    images = make_images(CONFIG, 19)
    singly = [relevance(model, image[None]).layers["blocks.1.mlp.fc1"] for image in images]
    assert contribution(model, images)["blocks.1.mlp.fc1"] == pytest.approx(sum(singly) / 19)


def test_a_branch_that_writes_more_contributes_more() -> None:
    """Ten times larger weights behind an MLP make it the larger contributor of its block."""
    model = make_model(CONFIG).requires_grad_(False)
    images = make_images(CONFIG, 8)
    before = contribution(model, images)["blocks.0.mlp.fc2"]
    model.get_parameter("blocks.0.mlp.fc2.weight").mul_(10)
    assert contribution(model, images)["blocks.0.mlp.fc2"] > before


@pytest.mark.parametrize("mean_bits", [None, 3.0, 3.4, 5.0])
def test_allocation_keeps_its_budget_and_prefers_contributors(mean_bits: float | None) -> None:
    """Mean bits are within the budget; of equally large layers, those that contribute more have no fewer."""
    model = make_model(CONFIG).requires_grad_(False)
    images = make_images(CONFIG, 8)
    config = allocate(model, images, UNIFORM, mean_bits)
    contributions, work = contribution(model, images), multiplications(CONFIG)
    bits = {name: config.bits_of(name) for name in work}
    assert all(b.weight == b.activation and abs(b.weight - 4) <= 1 for b in bits.values())
    spent = sum(work[name] * bits[name].weight for name in work) / sum(work.values())
    assert spent <= (mean_bits or 4) + 1e-9
    ordered = sorted(work, key=lambda name: contributions[name] / work[name])
    widths = [bits[name].weight for name in ordered if work[name] <= min(work.values()) * 1.01]
    assert widths == sorted(widths)
    if mean_bits in (3.0, 5.0):
        assert {b.weight for b in bits.values()} == {int(mean_bits)}


def test_allocation_spends_what_fits() -> None:
    """No layer could have another bit within the budget."""
    model = make_model(CONFIG).requires_grad_(False)
    config = allocate(model, make_images(CONFIG, 8), UNIFORM, 4.3)
    work = multiplications(CONFIG)
    bits = {name: config.bits_of(name).weight for name in work}
    left = 4.3 * sum(work.values()) - sum(work[name] * bits[name] for name in work)
    assert all(bits[name] == 5 or work[name] > left for name in work)


def test_allocation_refuses_what_cannot_be() -> None:
    """A budget below the smallest widths, and pictures of another size."""
    model = make_model(CONFIG).requires_grad_(False)
    with pytest.raises(ConfigError, match="at least 3"):
        allocate(model, make_images(CONFIG, 2), UNIFORM, 2.9)
    with pytest.raises(InputError):
        allocate(model, torch.zeros(1, 3, 4, 4), UNIFORM)
    with pytest.raises(ConfigError, match="1 weight bits"):
        allocate(model, make_images(CONFIG, 2), replace(UNIFORM, bits=Bits(weight=2, activation=2)), 2.0)


def test_multiplications_are_those_of_each_block() -> None:
    """Blocks may have MLPs of different widths."""
    work = multiplications(replace(CONFIG, hiddens=(5, 16)))
    assert work["blocks.0.mlp.fc1"] == work["blocks.0.mlp.fc2"] == 16 * 12 * 5
    assert work["blocks.1.mlp.fc1"] == 16 * 12 * 16


def test_layers_of_shared_weights_have_no_widths_of_their_own() -> None:
    """Allocation refuses such models instead of making what cannot be quantized."""
    model = make_model(replace(CONFIG, activations=(Activation.RELU,) * 2, sharing=(0, 0))).requires_grad_(False)
    with pytest.raises(ConfigError, match="share weights"):
        allocate(model, make_images(CONFIG, 2), UNIFORM)
