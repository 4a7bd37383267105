"""Quantized models: where quantizers are, what they change, with every method and architecture."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mpcvit.errors import ConfigError, InputError
from mpcvit.export.quantized.lower import lower
from mpcvit.export.vit import export_vit
from mpcvit.models.kinds import Activation, AttentionKind, Norm
from mpcvit.quantize.config import Bits, Method
from mpcvit.quantize.places import QuantLinear, quantizers
from mpcvit.quantize.quantize import quantize
from mpcvit.store.quantized import load_quantized, save_quantized
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, QUICK, make_variant
from tests.support.quantized import METHODS, PAPERS, SELECTING, quantized, settings, without_activation_quantizers

#: Three blocks, two of which share their weights, and two blocks whose attention selects tokens: quick to export.
SHARED = varied(
    BASE,
    heads=((AttentionKind.SCALING, AttentionKind.SQUARE),) * 3,
    activation=(Activation.RELU,) * 3,
    norms=((Norm.AFFINE, Norm.AFFINE),) * 3,
    owners=(0, 0, 2),
)
SKETCH = replace(QUICK, relative=2.0**-4)
#: What rewrites norms and the layers behind them.
REWRITING = (Method.REPQ, Method.ADALOG, Method.MPTQ, Method.IS_VIT, Method.DOPQ)
#: What clips tails, or has attention weights that are powers of two or of its root, at any width.
COARSE = (Method.REPQ, Method.PERCENTILE, Method.IS_VIT)


def test_everything_has_a_quantizer_and_the_model_none() -> None:
    """Input and weight of every linear layer, operands of all products; the model itself stays as it was."""
    model = make_variant(PAPERS)
    before = copy.deepcopy(model.state_dict())
    result = quantize(model, settings(Method.REPQ, 4), make_images(PAPERS, 8))
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    kinds = ("softmax", "relu_softmax")
    expected = {f"{name}.{part}" for name in linears for part in ("quantize_input", "quantize_weight")}
    expected |= {f"blocks.{n}.attn.quantize_{operand}" for n in range(2) for operand in "qkv"}
    expected |= {f"blocks.{n}.attn.kernels.{kind}.quantize_weights" for n in range(2) for kind in kinds}
    assert set(quantizers(result)) == expected
    assert not result.training
    assert not any(isinstance(module, QuantLinear) for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_bits_go_where_the_configuration_says() -> None:
    """Layers and attentions by name; the pictures keep 8 bits; the head is like any layer."""
    config = replace(
        settings(Method.MINMAX, 4),
        layers=(("blocks.1.mlp.fc1", Bits(weight=3, activation=6)), ("blocks.0.attn", Bits(weight=2, activation=5))),
    )
    bits = {
        name: q.bits for name, q in quantizers(quantize(make_variant(PAPERS), config, make_images(PAPERS, 4))).items()
    }
    assert bits.pop("patch_embed.quantize_input") == 8
    assert bits.pop("blocks.1.mlp.fc1.quantize_weight") == 3
    assert bits.pop("blocks.1.mlp.fc1.quantize_input") == 6
    assert {width for name, width in bits.items() if name.startswith("blocks.0.attn.quantize")} == {5}
    assert {width for name, width in bits.items() if name.startswith("blocks.0.attn.kernels")} == {5}
    assert {width for name, width in bits.items() if not name.startswith(("blocks.0.attn.q", "blocks.0.attn.k"))} == {4}


def test_weights_are_rounded_per_output_channel() -> None:
    """Every row of a weight has a scale of its own, and at most 2^bits values."""
    _, result = quantized(Method.MINMAX, 3)
    layer = result.blocks[0].mlp.fc1
    assert layer.quantize_weight.scale.shape == (layer.out_features, 1)
    assert all(len(row.unique()) <= 8 for row in layer.quantized_weight())
    assert len(layer.quantized_weight().unique()) > 8


@pytest.mark.parametrize("method", METHODS)
def test_many_bits_change_little_and_few_bits_more(method: Method) -> None:
    """The relative error of logits at W12A12 is small, and grows as bits fall."""
    model = make_variant(PAPERS)
    images = make_images(PAPERS, 24)
    expected = model(images)
    errors = []
    for bits in (12, 6, 3):
        logits = quantize(model, settings(method, bits), images)(images)
        errors.append(float(((logits - expected).norm() / expected.norm()).detach()))
    assert errors[0] < (0.15 if method in COARSE else 0.03)
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("kind", list(AttentionKind))
@pytest.mark.parametrize("method", [Method.REPQ, Method.MPTQ])
def test_all_attention_kinds(kind: AttentionKind, method: Method) -> None:
    """Every kind beside a softmax head, with a mask where the kind allows one."""
    config = varied(
        BASE, heads=((kind, AttentionKind.SOFTMAX),) * 2, linformer_rank=4, pooled_side=3, lepe=2, class_token=True
    )
    model = make_variant(config)
    images = make_images(config, 16)
    expected = model(images)
    logits = quantize(model, settings(method, 10), images)(images)
    assert (logits - expected).norm() < 0.3 * expected.norm()


class _Factors(nn.Sequential):
    """A layer in two factors, the first without bias."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__(nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features))


@pytest.mark.parametrize("method", [Method.REPQ, Method.ADALOG, Method.MPTQ])
def test_low_rank_and_shared_layers(method: Method) -> None:
    """Factors are layers with names of their own; shared layers stay shared, and norms before them as they were."""
    model = make_variant(PAPERS)
    torch.manual_seed(0)
    model.blocks[0].attn.qkv = _Factors(model.blocks[0].attn.qkv, 5)
    model.blocks[1].mlp.fc1 = model.blocks[0].mlp.fc1
    images = make_images(PAPERS, 8)
    config = replace(settings(method, 8), layers=(("blocks.0.attn.qkv.0", Bits(weight=6, activation=6)),))
    result = quantize(model, config, images)
    assert result.blocks[0].attn.qkv[0].quantize_weight.bits == 6
    assert result.blocks[0].mlp.fc1 is result.blocks[1].mlp.fc1
    assert torch.equal(result.blocks[0].norm2.weight, model.blocks[0].norm2.weight)
    assert not torch.equal(result.blocks[0].norm1.weight, model.blocks[0].norm1.weight)
    assert (result(images) - model(images)).norm() < 0.4 * model(images).norm()
    if method is not Method.ADALOG:  # its biases hold shifts
        clear = without_activation_quantizers(result)
        assert torch.allclose(clear(images), model(images), rtol=1e-5, atol=1e-4)


def test_bad_requests_are_typed_errors() -> None:
    """Pictures of another shape, layers that are not there, a quantized model."""
    model, images = make_variant(PAPERS), make_images(PAPERS, 4)
    config = settings(Method.MINMAX, 8)
    for wrong in (images[:0], images[:, :1], images[..., :8], images[0]):
        with pytest.raises(InputError, match="pictures of shape"):
            quantize(model, config, wrong)
    with pytest.raises(ConfigError, match=r"blocks\.7\.mlp.*names.*blocks\.0\.mlp\.fc1"):
        quantize(model, replace(config, layers=(("blocks.7.mlp", config.bits),)), images)
    with pytest.raises(ConfigError, match="QuantLinear"):
        quantize(quantize(model, config, images), config, images)


def test_rounded_weights_without_quantizers_of_activations() -> None:
    """What is exported is a plain model of rounded weights, whose biases hold no shift of a quantizer."""
    config = varied(PAPERS, norms=((Norm.LAYERNORM, Norm.BATCHNORM),) * 2)
    for method in (Method.REPQ, Method.ADALOG):
        model, result = quantized(method, 5, config)
        images = make_images(config, 6, seed=9)
        plain = lower(result).model
        assert not quantizers(plain)
        assert {type(module) for module in plain.modules() if isinstance(module, nn.Linear)} == {nn.Linear}
        weights = {name: q for name, q in quantizers(result).items() if name.endswith("quantize_weight")}
        fine = quantize(plain, settings(Method.MINMAX, 16), images)
        assert torch.allclose(fine(images), plain(images), atol=0.02)
        assert all(len(plain.get_submodule(name.rsplit(".", 1)[0]).weight[0].unique()) <= 32 for name in weights)
        assert (plain(images) - model(images)).norm() < 0.5 * model(images).norm()


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_blocks_share_stay_shared(method: Method, tmp_path: Path) -> None:
    """In the quantized model, in its files and in what export takes; a block of its own is still rewritten."""
    model, result = quantized(method, 6, SHARED)
    images = make_images(SHARED, 8)
    save_quantized(result, settings(method, 6), tmp_path)
    loaded, _ = load_quantized(tmp_path)
    assert torch.equal(loaded(images), result(images))
    for whole in (result, loaded):
        plain = lower(whole).model
        for one in (whole, plain):
            for name in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                assert one.blocks[0].get_submodule(name).weight is one.blocks[1].get_submodule(name).weight
    assert export_vit(lower(result).model, images, SKETCH).fidelity < 1e-9
    rewritten = not torch.equal(model.blocks[2].norm1.weight, result.blocks[2].norm1.weight)
    assert rewritten == (method in REWRITING)
    assert (result(images) - model(images)).norm() < 0.5 * model(images).norm()


def test_weights_that_blocks_share_have_one_width() -> None:
    """Other activation bits are another matter."""
    model, images = make_variant(SHARED), make_images(SHARED, 4)
    narrow = replace(settings(Method.MINMAX, 8), layers=(("blocks.1.mlp.fc1", Bits(weight=8, activation=4)),))
    assert quantizers(quantize(model, narrow, images))["blocks.1.mlp.fc1.quantize_input"].bits == 4
    narrow = replace(narrow, layers=(("blocks.1.mlp.fc1", Bits(weight=4, activation=8)),))
    with pytest.raises(ConfigError, match=r"8 weight bits for blocks\.0\.mlp\.fc1, 4 for blocks\.1\.mlp\.fc1"):
        quantize(model, narrow, images)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_where_attention_selects_tokens(method: Method) -> None:
    """EViT: operands are captured once, norms rewritten as elsewhere, and export gives the same function."""
    model = make_variant(SELECTING)
    images = make_images(SELECTING, 16)
    result = quantize(model, settings(method, 10), images)
    assert bool(result(images).isfinite().all())
    for block, other in zip(model.blocks, result.blocks, strict=True):
        assert (not torch.equal(block.norm1.weight, other.norm1.weight)) == (method in REWRITING)
    assert export_vit(lower(result).model, images, SKETCH).fidelity < 1e-9
