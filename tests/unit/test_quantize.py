"""quantize(): what it puts where, what it leaves as it was, files, and what shares get."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mpcvit.errors import ConfigError, InputError, ModelFileError
from mpcvit.export.vit import export_vit
from mpcvit.models.config import Activation, AttentionKind, Norm, Reduction, ReductionKind, ViTConfig
from mpcvit.models.norm import LayerNorm
from mpcvit.models.vit import Attention, VisionTransformer, patchify
from mpcvit.quantize import Bits, Method, QuantizeConfig, quantize
from mpcvit.quantize.adalog import AdaLog
from mpcvit.quantize.capture import capture, trace
from mpcvit.quantize.files import QUANTIZE_FILE, load_quantized, save_quantized
from mpcvit.quantize.log_sqrt2 import LogSqrt2
from mpcvit.quantize.lower import lower
from mpcvit.quantize.methods.adalog import AdaLogCalibration, absorb_shift
from mpcvit.quantize.methods.calibration import Calibration, LinearSite, ProductSite
from mpcvit.quantize.methods.mptq import MptqCalibration
from mpcvit.quantize.methods.repq import to_one_scale
from mpcvit.quantize.quantize import CALIBRATIONS
from mpcvit.quantize.quantized import QuantLinear, places, quantizers, with_places
from mpcvit.quantize.quantizer import Quantizer
from mpcvit.quantize.twin import TwinUniform
from mpcvit.quantize.uniform import Uniform
from tests.conftest import make_images, make_model
from tests.mlp_variants import BASE, QUICK, VARIANTS, make_variant

METHODS = list(CALIBRATIONS)
#: Two blocks with one head of a softmax each, and GELU: what the papers quantize.
PAPERS = replace(
    BASE, heads=((AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX),) * 2, activations=(Activation.GELU,) * 2
)


#: Three blocks, two of which share their weights, and two blocks whose attention selects tokens: quick to export.
SHARED = replace(
    BASE,
    heads=((AttentionKind.SCALING, AttentionKind.SQUARE),) * 3,
    activations=(Activation.RELU,) * 3,
    norms=((Norm.AFFINE, Norm.AFFINE),) * 3,
    sharing=(0, 0, 2),
)
SELECTING = replace(
    BASE,
    norms=((Norm.AFFINE, Norm.AFFINE),) * 2,
    reductions=tuple(Reduction(kind=ReductionKind.EVIT, keep=keep) for keep in (6, 4)),
)
SKETCH = replace(QUICK, relative=2.0**-4)
#: What rewrites norms and the layers behind them.
REWRITING = (Method.REPQ, Method.ADALOG, Method.MPTQ, Method.IS_VIT, Method.DOPQ)
#: What clips tails, or has attention weights that are powers of two or of its root, at any width.
COARSE = (Method.REPQ, Method.PERCENTILE, Method.IS_VIT)


def settings(method: Method, weight: int, activation: int | None = None) -> QuantizeConfig:
    """All layers at these widths."""
    return QuantizeConfig(method=method, bits=Bits(weight=weight, activation=activation or weight))


def quantized(method: Method, bits: int, config: ViTConfig = PAPERS) -> tuple[VisionTransformer, VisionTransformer]:
    """A model and its quantized copy."""
    model = make_variant(config)
    return model, quantize(model, settings(method, bits), make_images(config, 16))


def without_activation_quantizers(model: VisionTransformer) -> VisionTransformer:
    """A copy that rounds nothing any more, not even weights."""
    clear = copy.deepcopy(model)
    for place in places(clear).values():
        place.put(nn.Identity())
    return clear


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
    images = make_images(PAPERS, 16)
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
    config = replace(
        BASE, heads=((kind, AttentionKind.SOFTMAX),) * 2, linformer_rank=4, pooled_side=3, lepe=2, class_token=True
    )
    model = make_variant(config)
    images = make_images(config, 16)
    expected = model(images)
    logits = quantize(model, settings(method, 10), images)(images)
    assert (logits - expected).norm() < 0.3 * expected.norm()


def test_adalog_for_kinds_without_weights_or_with_shortened_keys() -> None:
    """Operands whose product is not weights times values are fitted to themselves."""
    kinds = (AttentionKind.SCALING, AttentionKind.LINFORMER)
    config = replace(BASE, heads=(kinds,), activations=(Activation.QUAD,), linformer_rank=4, norms=())
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
    config = replace(PAPERS, heads=PAPERS.heads[:1], activations=PAPERS.activations[:1])
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


def test_capture_sees_what_layers_read_and_stops_early() -> None:
    """Values of a block for all pictures, over several batches; later blocks do not run."""
    model = with_places(make_variant(PAPERS))
    images = make_images(PAPERS, 70)
    traced = trace(model, images[:1])
    first, block = traced.stages()[:2]
    assert traced.first == "patch_embed"
    assert traced.norms["blocks.1.mlp.fc1"] == "blocks.1.norm2"
    assert traced.norms["head"] == "norm"
    assert "blocks.0.mlp.fc2" not in traced.norms
    ran = []
    model.blocks[1].register_forward_pre_hook(lambda *_: ran.append(1))
    seen = capture(model, traced.calls, [*first, *block], images)
    assert not ran
    assert set(seen) == {*first, *block}
    assert torch.allclose(seen["patch_embed.quantize_input"], patchify(images, PAPERS.patch_size))
    embedded = model.patch_embed(seen["patch_embed.quantize_input"]) + model.pos_embed
    expected = model.blocks[0].norm1(embedded)
    assert torch.allclose(seen["blocks.0.attn.qkv.quantize_input"], expected, atol=1e-5)


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


@pytest.mark.parametrize("method", METHODS)
def test_saved_models_load_with_the_same_outputs(method: Method, tmp_path: Path) -> None:
    """Bit for bit, with configuration, kinds, widths and settings of quantizers."""
    config = replace(settings(method, 4), layers=(("head", Bits(weight=8, activation=8)),))
    model, images = make_variant(PAPERS), make_images(PAPERS, 8)
    result = quantize(model, config, images)
    save_quantized(result, config, tmp_path)
    loaded, loaded_config = load_quantized(tmp_path)
    assert loaded_config == config
    assert torch.equal(loaded(images), result(images))
    assert {name: (q.kind, q.bits, q.settings()) for name, q in quantizers(loaded).items()} == {
        name: (q.kind, q.bits, q.settings()) for name, q in quantizers(result).items()
    }


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 2},
        {"quantizers": {"blocks.0.nowhere": {"kind": "uniform", "bits": 4, "settings": {}}}},
        {"quantizers": {"head.quantize_input": {"kind": "exec", "bits": 4, "settings": {}}}},
        {"quantizers": {"head.quantize_input": {"kind": "uniform", "bits": 4, "settings": {"colour": 1}}}},
        {"quantizers": {"head.quantize_input": {"kind": "adalog", "bits": 4, "settings": {}}}},
        {"quantizers": {}},
        {"quantizers": []},
    ],
)
def test_damaged_files_are_refused(damage: dict, tmp_path: Path) -> None:
    """What does not belong together is a ModelFileError that says what to do."""
    _, result = quantized(Method.MINMAX, 4)
    save_quantized(result, settings(Method.MINMAX, 4), tmp_path)
    document = json.loads((tmp_path / QUANTIZE_FILE).read_text())
    (tmp_path / QUANTIZE_FILE).write_text(json.dumps({**document, **damage}))
    with pytest.raises(ModelFileError, match="Quantize"):
        load_quantized(tmp_path)
    (tmp_path / QUANTIZE_FILE).unlink()
    with pytest.raises(ModelFileError, match="Quantize"):
        load_quantized(tmp_path)


def test_rounded_weights_without_quantizers_of_activations() -> None:
    """What is exported is a plain model of rounded weights, whose biases hold no shift of a quantizer."""
    config = replace(PAPERS, norms=((Norm.LAYERNORM, Norm.BATCHNORM),) * 2)
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


def test_a_selection_s_operands_are_computed_once() -> None:
    """One call of every place, and a row of what it sees per picture."""
    model, images = with_places(make_variant(SELECTING)), make_images(SELECTING, 5)
    traced = trace(model, images[:1])
    assert len(set(traced.calls)) == len(traced.calls)
    assert traced.norms["blocks.0.attn.qkv"] == "blocks.0.norm1"
    seen = capture(model, traced.calls, ["blocks.0.attn.quantize_q"], images)
    assert len(seen["blocks.0.attn.quantize_q"]) == 5


def test_pictures_are_finite_and_float32() -> None:
    """Anything else is refused before any work, by what computes with pictures."""
    model, images = make_variant(PAPERS), make_images(PAPERS, 4)
    wrong = {"float64": images.double(), "uint8": images.to(torch.uint8), "finite": images.clone()}
    wrong["finite"][2, 0, 3, 3] = torch.nan
    for words, pictures in wrong.items():
        with pytest.raises(InputError, match=words):
            quantize(model, settings(Method.MINMAX, 8), pictures)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"bits": {"weight": 4.5, "activation": 8}}, "4.5 weight bits"),
        ({"bits": {"weight": 8, "activation": True}}, "True activation bits"),
        ({"bits": {"weight": 8, "activation": "8"}}, "'8' activation bits"),
        ({"layers": [["head", {"weight": 8, "activation": 8.0}]]}, "8.0 activation bits"),
        ({"layers": [[1, {"weight": 8, "activation": 8}]]}, "layers"),
        ({"steps": 2.5}, "2.5 steps"),
        ({"steps": True}, "True steps"),
        ({"steps": 0}, "0 steps"),
        ({"reconstruct": "no"}, "reconstruct 'no'"),
        ({"reconstruct": 1}, "reconstruct 1"),
    ],
)
def test_configurations_hold_what_they_say(document: dict, words: str) -> None:
    """Fields of another type are refused, as a file may have them."""
    good = settings(Method.REPQ, 8).to_json()
    assert QuantizeConfig.from_json(json.loads(json.dumps(good))) == settings(Method.REPQ, 8)
    with pytest.raises(ConfigError) as caught:
        QuantizeConfig.from_json({**good, **document})
    assert words in caught.value.got
