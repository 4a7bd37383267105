"""Greedy mixed precision under a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.allocate.mixed_precision import MixedPrecision
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.models import TINY, make_model

START = QuantizeConfig(method=Method.MINMAX, bits=Bits(weight=8, activation=8))
LOWEST = Bits(weight=4, activation=5)


def all_bits(widths: Mapping[str, Bits]) -> float:
    """The sum of all widths."""
    return float(sum(bits.weight + bits.activation for bits in widths.values()))


def activation_bits(widths: Mapping[str, Bits]) -> float:
    """What only activations cost."""
    return float(sum(bits.activation for bits in widths.values()))


@pytest.fixture
def model() -> VisionTransformer:
    """A model whose first MLP layer is of no consequence, because the second one is zero."""
    model = make_model(TINY)
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight.zero_()
    return model


def test_what_does_not_matter_is_lowered_first(model: VisionTransformer) -> None:
    """With a budget that the layers of no consequence can meet, nothing else is touched, and they go all the way."""
    images = make_images(TINY, 8)
    all_wide, both_narrow = 7 * 16, 2 * (4 + 3)
    found = MixedPrecision(model, START, images, LOWEST).within(all_bits, all_wide - both_narrow)
    assert dict(found.layers) == {"blocks.0.mlp.fc1": LOWEST, "blocks.0.mlp.fc2": LOWEST}
    expected = quantize(model, START, images)(images)
    assert torch.allclose(quantize(model, found, images)(images), expected, atol=1e-5)


@pytest.mark.parametrize("method", [Method.MINMAX, Method.REPQ])
def test_the_budget_holds_and_is_used(model: VisionTransformer, method: Method) -> None:
    """One more bit anywhere would break it; widths stay above the lowest, and the pictures keep 8 bits."""
    start = replace(START, method=method)
    found = MixedPrecision(model, start, make_images(TINY, 8), LOWEST).within(all_bits, 90)
    names = [
        "patch_embed",
        "head",
        "blocks.0.attn",
        *(f"blocks.0.{n}" for n in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")),
    ]
    widths = {name: found.bits_of(name) for name in names}
    assert 80 <= all_bits(widths) <= 90
    assert all(bits.weight >= 4 and bits.activation >= 5 for bits in widths.values())
    assert widths["patch_embed"].activation == 8
    assert (found.method, found.bits) == (start.method, start.bits)
    quantize(model, found, make_images(TINY, 8))


def test_what_costs_nothing_keeps_its_bits(model: VisionTransformer) -> None:
    """A cost of activations leaves weights alone."""
    found = MixedPrecision(model, START, make_images(TINY, 8), LOWEST).within(activation_bits, 46)
    assert found.layers
    assert all(bits.weight == 8 for _, bits in found.layers)


def test_a_budget_that_holds_already_changes_nothing(model: VisionTransformer) -> None:
    """The configuration comes back as it was, layers included."""
    start = replace(START, layers=(("head", Bits(weight=6, activation=6)),))
    assert MixedPrecision(model, start, make_images(TINY, 8), LOWEST).within(all_bits, 1000) == start


def test_an_impossible_budget_says_what_is_possible(model: VisionTransformer) -> None:
    """All layers at their lowest widths, but for the pictures and for the attention, which has no weights to narrow."""
    least = 7 * (4 + 5) + 3 + 4
    with pytest.raises(ConfigError, match=f"at least {least}"):
        MixedPrecision(model, START, make_images(TINY, 8), LOWEST).within(all_bits, least - 1)


def test_shared_weights_keep_their_width() -> None:
    """Widths differ by layer, weights that layers share have one; what comes out can be quantized."""
    config = varied(TINY, heads=column(TINY, "heads") * 2, activation=column(TINY, "activation") * 2, owners=(0, 0))
    model, images = make_model(config), make_images(config, 8)
    found = MixedPrecision(model, START, images, LOWEST).within(all_bits, 175)
    assert all(bits.weight == 8 for name, bits in found.layers if name.startswith("blocks"))
    quantize(model, found, images)
