"""Methods that rewrite norms and choose quantizers by what values look like."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.norm import LayerNorm
from mpcvit.models.vit import Attention
from mpcvit.quantize.calibrate.calibration import Calibration, LinearSite, ProductSite
from mpcvit.quantize.calibrate.capture import capture, trace
from mpcvit.quantize.config import Bits, Method
from mpcvit.quantize.methods.adalog import AdaLogCalibration, absorb_shift
from mpcvit.quantize.methods.mptq import MptqCalibration
from mpcvit.quantize.methods.repq import to_one_scale
from mpcvit.quantize.places import QuantLinear, quantizers, with_places
from mpcvit.quantize.quantize import quantize
from mpcvit.quantize.quantizers.adalog import AdaLog
from mpcvit.quantize.quantizers.log_sqrt2 import LogSqrt2
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.twin import TwinUniform
from mpcvit.quantize.quantizers.uniform import Uniform
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, VARIANTS, make_variant
from tests.support.models import make_model
from tests.support.quantized import PAPERS, quantized, settings, without_activation_quantizers


def test_adalog_for_kinds_without_weights_or_with_shortened_keys() -> None:
    """Operands whose product is not weights times values are fitted to themselves."""
    kinds = (AttentionKind.SCALING, AttentionKind.LINFORMER)
    config = varied(BASE, heads=(kinds,), activation=(Activation.QUAD,), linformer_rank=4, norms=())
    model = make_model(config)
    images = make_images(config, 16)
    logits = quantize(model, settings(Method.ADALOG, 10), images)(images)
    assert (logits - model(images)).norm() < 0.05 * model(images).norm()


@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("method", [Method.REPQ, Method.MPTQ])
def test_rewritten_norms_change_nothing_in_real_arithmetic(name: str, method: Method) -> None:
    """With all norms, gates and activations; blocks' norms and what reads them change, the last norm does not."""
    model, result = quantized(method, 4, VARIANTS[name])
    images = make_images(VARIANTS[name], 8, seed=5)
    assert torch.allclose(without_activation_quantizers(result)(images), model(images), rtol=1e-5, atol=1e-4)
    for block, other in zip(model.blocks, result.blocks, strict=True):
        assert not torch.equal(block.norm1.weight, other.norm1.weight)
        assert not torch.equal(block.attn.qkv.weight, other.attn.qkv.weight)
    assert torch.equal(model.norm.weight, result.norm.weight)


def test_repq_turns_channel_wise_codes_into_layer_wise_ones() -> None:
    """After rewriting, one scale and one whole zero point give each value the code that its channel's gave before."""
    torch.manual_seed(0)
    norm, linear = LayerNorm(6), nn.Linear(6, 4)
    nn.init.normal_(norm.weight, std=3)
    nn.init.normal_(norm.bias)
    tokens = torch.randn(200, 6) * torch.tensor([1, 5, 0.2, 1, 9, 1])
    x = norm(tokens).detach()
    by_channel = Uniform(4, axis=-1)
    by_channel.fit(x)
    expected, outputs = by_channel.codes(x), linear(x).detach()
    layer = QuantLinear(linear)
    site, joint = to_one_scale(LinearSite(layer, x, norm, Bits(weight=4, activation=4)), by_channel)
    assert joint.scale.ndim == joint.zero.ndim == 0
    assert joint.zero == joint.zero.round()
    assert torch.allclose(norm(tokens), site.x, atol=1e-4)
    assert torch.allclose(layer(norm(tokens)), outputs, atol=1e-4)
    same = joint.codes(site.x) == expected  # but where rounding x itself decides
    assert same.float().mean() > 0.999


def test_a_dead_channel_does_not_blow_up_its_norm() -> None:
    """A channel that is constant on the calibration pictures keeps a moderate gain."""
    norm, layer = LayerNorm(4), QuantLinear(nn.Linear(4, 3))
    x = torch.randn(100, 4)
    x[:, 2] = 0.3 + 1e-9 * x[:, 2]
    by_channel = Uniform(4, axis=-1)
    by_channel.fit(x)
    site, joint = to_one_scale(LinearSite(layer, x, norm, Bits(weight=4, activation=4)), by_channel)
    assert norm.weight.abs().max() < 1100
    assert torch.isfinite(joint(site.x)).all()


def test_bias_takes_up_adalogs_shift() -> None:
    """The layer computes what it did, from values that are higher by the shift."""
    torch.manual_seed(0)
    layer, x = QuantLinear(nn.Linear(8, 5)), nn.functional.gelu(torch.randn(50, 8))
    layer.quantize_input, layer.quantize_weight = AdaLog(4), Uniform(4, axis=0)
    layer.quantize_input.fit(x)
    layer.quantize_weight.fit(layer.weight.detach())
    expected, shift = layer(x).detach(), layer.quantize_input.shift
    values = layer.quantize_input(x)
    absorb_shift(layer)
    assert torch.allclose(layer.quantize_input(x), values + shift, atol=1e-6)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    absorb_shift(layer)  # once is enough
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_repq_has_powers_for_attention_weights_only() -> None:
    """Of the square root of 2; everything else is uniform."""
    found = quantizers(quantized(Method.REPQ, 4)[1])
    assert {type(q) for name, q in found.items() if name.endswith("quantize_weights")} == {LogSqrt2}
    assert {type(q) for name, q in found.items() if not name.endswith("quantize_weights")} == {Uniform}


@pytest.mark.parametrize(
    ("calibration", "kind"), [(AdaLogCalibration(), AdaLog), (MptqCalibration(), TwinUniform)], ids=["adalog", "mptq"]
)
def test_power_laws_get_the_method_s_own_quantizer(calibration: Calibration, kind: type[Quantizer]) -> None:
    """Weights that are mostly small; operands that are not one-sided stay uniform."""
    torch.manual_seed(0)
    attention = Attention(replace(BASE, dim=16), (AttentionKind.SOFTMAX,))
    q, k, v = torch.randn(3, 4, 1, 36, 16)
    weights = (2 * torch.randn(4, 1, 36, 36)).softmax(dim=-1)
    calibration.products(ProductSite(attention, q, k, v, {"softmax": weights}, 4))
    assert isinstance(attention.kernels["softmax"].quantize_weights, kind)
    for quantizer in (attention.quantize_q, attention.quantize_k, attention.quantize_v):
        assert isinstance(quantizer, Uniform)


@torch.no_grad()
def test_adalog_is_better_than_the_whole_range_on_every_layer() -> None:
    """Per layer, the error of the output for the calibration pictures is lower than with min-max."""
    config = varied(PAPERS, heads=column(PAPERS, "heads")[:1], activation=column(PAPERS, "activation")[:1])
    model, images = make_variant(config), make_images(config, 16)
    reference = with_places(model)
    traced = trace(reference, images[:1])
    seen = {name: x for stage in traced.stages() for name, x in capture(reference, traced.calls, stage, images).items()}
    errors: dict[Method, dict[str, float]] = {}
    for method in (Method.MINMAX, Method.ADALOG):
        result = quantize(model, settings(method, 4), images)
        errors[method] = {}
        for name in ("patch_embed", "blocks.0.attn.proj", "blocks.0.mlp.fc2"):  # layers without a norm before them
            x = seen[f"{name}.quantize_input"]
            expected = reference.get_submodule(name)(x)
            errors[method][name] = float((result.get_submodule(name)(x) - expected).square().sum())
    assert all(errors[Method.ADALOG][name] < errors[Method.MINMAX][name] for name in errors[Method.MINMAX])
