"""Reconstruction: what is learnt and what stays, what it is for, and the methods that bring their own."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn

from mpcvit.errors import ConfigError, InputError
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.norm import LayerNorm
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.calibrate.calibration import LinearSite
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.methods import METHODS
from mpcvit.quantize.methods.dopq import DopQCalibration
from mpcvit.quantize.methods.repq import RepQCalibration, to_one_scale
from mpcvit.quantize.places import QuantLinear, quantizers
from mpcvit.quantize.quantize import quantize
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.sulq import ShiftUniformLog2
from mpcvit.quantize.quantizers.tanq import ReconstructedTanQ
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.reconstruct.learner import Learner, Rate
from mpcvit.quantize.reconstruct.learnt_rounding import LearntRounding, LearntScale, SoftRounding
from mpcvit.quantize.reconstruct.reconstruct import reconstruct
from mpcvit.quantize.reconstruct.smooth_optimisation import SmoothOptimisation
from tests.support.columns import configured, varied
from tests.support.images import make_images
from tests.support.models import make_model

CONFIG = configured(
    image_size=8,
    patch_size=4,
    classes=4,
    dim=12,
    hidden=16,
    heads=((AttentionKind.SOFTMAX, AttentionKind.SCALING),) * 2,
    activation=(Activation.GELU,) * 2,
)
BITS = Bits(weight=3, activation=6)
LEARNERS: tuple[type[Learner], ...] = (LearntRounding, SmoothOptimisation)


def _model() -> VisionTransformer:
    return make_model(CONFIG, gain=2.0)


def _quantized(model: VisionTransformer, method: Method = Method.REPQ) -> VisionTransformer:
    return quantize(model, QuantizeConfig(method=method, bits=BITS), make_images(CONFIG, 64))


def _layers(model: VisionTransformer) -> dict[str, QuantLinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}


@torch.no_grad()
def _error(model: VisionTransformer, quantized: VisionTransformer, images: torch.Tensor) -> float:
    return float((model(images) - quantized(images)).square().mean())


@pytest.mark.parametrize(("learner", "share"), [(LearntRounding, 0.8), (SmoothOptimisation, 0.98)])
def test_logits_come_nearer_to_the_float_models(learner: type[Learner], share: float) -> None:
    """In 60 steps, on the pictures learnt from and on others; the float model stays what it was."""
    model, images = _model(), make_images(CONFIG, 256)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quantized = _quantized(model)
    first, others = _error(model, quantized, images), _error(model, quantized, make_images(CONFIG, 256, seed=8))
    reconstruct(model, quantized, images, learner(), steps=60)
    assert _error(model, quantized, images) < share * first
    assert _error(model, quantized, make_images(CONFIG, 256, seed=8)) < share * others
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_result_is_an_ordinary_quantized_model(learner: type[Learner]) -> None:
    """The same quantizers at the same places, the same names of parameters, the same parameters trainable."""
    model = _model()
    quantized = _quantized(model)
    kinds = {name: type(quantizer) for name, quantizer in quantizers(quantized).items()}
    names, flags = list(quantized.state_dict()), [p.requires_grad for p in quantized.parameters()]
    reconstruct(model, quantized, make_images(CONFIG, 40), learner(), steps=3)
    assert {name: type(quantizer) for name, quantizer in quantizers(quantized).items()} == kinds
    assert list(quantized.state_dict()) == names
    assert [p.requires_grad for p in quantized.parameters()] == flags


def test_learnt_rounding_goes_to_a_neighbour() -> None:
    """Every code is one of the two around the real weight, not always the nearer; weights are what codes stand for."""
    model = _model()
    quantized = _quantized(model)
    before = {name: layer.weight.detach().clone() for name, layer in _layers(quantized).items()}
    reconstruct(model, quantized, make_images(CONFIG, 64), LearntRounding(), steps=60)
    moved = 0
    quantized.requires_grad_(False)
    for name, layer in _layers(quantized).items():
        grid = cast(Uniform, layer.quantize_weight).grid
        real, codes = before[name] / grid.scale + grid.zero, grid.codes(layer.weight)
        assert torch.allclose(layer.quantized_weight(), layer.weight, atol=1e-6)
        assert float((codes - real.clamp(grid.lowest, grid.highest)).abs().max()) < 1 + 1e-4
        moved += int((codes != grid.codes(before[name])).sum())
    assert moved > 0


@pytest.mark.parametrize("learner", LEARNERS)
def test_equal_seeds_give_equal_models(learner: type[Learner]) -> None:
    """Bit for bit; another seed gives another model."""
    model, images = _model(), make_images(CONFIG, 80)
    results = []
    for seed in (3, 3, 4):
        quantized = _quantized(model)
        reconstruct(model, quantized, images, learner(), steps=20, seed=seed)
        results.append(torch.cat([parameter.detach().flatten() for parameter in quantized.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_progress_names_parts_in_order() -> None:
    """Every fifty steps and at the end, with the error, which falls."""
    model, seen = _model(), []
    config = QuantizeConfig(method=Method.MINMAX, bits=BITS, reconstruct=True, steps=60)
    quantize(model, config, make_images(CONFIG, 32), progress=lambda *report: seen.append(report))
    parts = ["patch_embed", "blocks.0", "blocks.1", "head"]
    assert [report[:2] for report in seen] == [(part, steps) for part in parts for steps in (50, 60)]
    assert all(error > 0 for _, _, error in seen)


def test_the_configuration_decides_whether_and_how_to_reconstruct() -> None:
    """``reconstruct`` and ``steps`` do what a call by hand does, with I&S-ViT's own stages for I&S-ViT."""
    model, images = _model(), make_images(CONFIG, 40)
    for method, learner in ((Method.DOPQ, LearntRounding()), (Method.IS_VIT, SmoothOptimisation())):
        by_hand = quantize(model, QuantizeConfig(method=method, bits=BITS), images)
        reconstruct(model, by_hand, images, learner, steps=5)
        config = QuantizeConfig(method=method, bits=BITS, reconstruct=True, steps=5)
        assert torch.equal(quantize(model, config, images)(images), by_hand(images))


def test_wrong_arguments_are_refused() -> None:
    """Pictures of another size, and a quantized model of another depth."""
    model = _model()
    quantized = _quantized(model)
    with pytest.raises(InputError):
        reconstruct(model, quantized, torch.zeros(2, 3, 4, 4), LearntRounding(), steps=1)
    quantized.blocks = quantized.blocks[:1]
    with pytest.raises(ConfigError, match="3 parts"):
        reconstruct(model, quantized, make_images(CONFIG, 2), LearntRounding(), steps=1)


def _soft(weight: torch.Tensor) -> SoftRounding:
    quantizer = Uniform(4, axis=0)
    quantizer.fit(weight)
    return SoftRounding(quantizer, weight)


def test_soft_rounding_begins_at_the_real_weight_and_ends_at_the_nearest_code() -> None:
    """Undecided, it rounds nothing; deciding at once is rounding to nearest."""
    torch.manual_seed(0)
    weight = torch.randn(5, 7)
    quantizer = Uniform(4, axis=0)
    quantizer.fit(weight)
    soft = SoftRounding(quantizer, weight)
    inside = (soft.floor + quantizer.zero >= 0) & (soft.floor + quantizer.zero < 15)
    assert torch.allclose(soft(weight)[inside], weight[inside], atol=1e-5)
    assert torch.allclose(soft.decided(), quantizer(weight), atol=1e-6)


def test_penalty_is_adarounds() -> None:
    """0.01 sum(1 - |2h - 1|^b): none in the first fifth, then b from 20 to 2; none where all is decided."""
    soft = _soft(torch.randn(5, 7))
    far = 2 * soft.up().detach() - 1
    for share, exponent in ((0.2, 20.0), (0.6, 11.0), (1.0, 2.0)):
        assert float(soft.penalty(share).detach()) == pytest.approx(
            0.01 * float((1 - far.abs() ** exponent).sum()), rel=1e-4
        )
    assert float(soft.penalty(0.1).detach()) == 0
    soft.tilt.data.copy_(torch.where(soft.tilt > 0, 9.0, -9.0))
    assert float(soft.penalty(1.0).detach()) == pytest.approx(0.0, abs=1e-6)


def test_learnt_scale_has_the_gradient_of_learnt_step_sizes() -> None:
    """LSQ (ICLR 2020): round(x/s) - x/s inside the range, the distance of the end from zero outside."""
    x = torch.tensor([0.1, 0.34, -0.2, 5.0, -5.0])
    quantizer = Uniform(4)
    quantizer.assign(torch.tensor(0.1), torch.tensor(4.0))
    scale = LearntScale(quantizer)
    assert torch.allclose(scale(x), quantizer(x))
    for value, expected in zip(x, (0.0, 3 - 3.4, 0.0, 11.0, -4.0), strict=True):
        (gradient,) = torch.autograd.grad(scale(value), scale.scale)
        assert float(gradient) == pytest.approx(expected, abs=1e-4)
    scale.scale.data.mul_(2)
    assert float(scale.keep().scale) == pytest.approx(0.2)


def test_rates() -> None:
    """Constant, or half a cosine from the start to 0."""
    assert [Rate((), 2.0, cosine=False).at(share) for share in (0, 0.5, 1)] == [2.0, 2.0, 2.0]
    assert [Rate((), 2.0, cosine=True).at(share) for share in (0, 0.5, 1)] == pytest.approx([2.0, 1.0, 0.0])


def test_smooth_optimisation_trains_real_weights_first_and_quantized_ones_then() -> None:
    """I&S-ViT's stages: identity at the weights, then quantizers that fit the weights as the first stage left them."""
    quantized = _quantized(_model(), Method.IS_VIT)
    part = quantized.get_submodule("blocks.0")
    layer = cast(QuantLinear, quantized.get_submodule("blocks.0.mlp.fc1"))
    quantizer = layer.quantize_weight
    stages = SmoothOptimisation().stages(part, 10)
    first = next(stages)
    assert isinstance(layer.quantize_weight, nn.Identity)
    assert isinstance(layer.quantize_input, Uniform)
    learnt = {id(parameter) for rate in first.rates for parameter in rate.parameters}
    layers = [module for module in part.modules() if isinstance(module, QuantLinear)]
    linear = {id(parameter) for module in layers for parameter in module.parameters()}
    assert learnt == linear
    layer.weight.data.mul_(2)
    next(stages)
    assert layer.quantize_weight is quantizer
    again = Uniform(BITS.weight, axis=0, rule=cast(Uniform, quantizer).rule)
    again.fit(layer.weight.detach())
    assert torch.equal(again(layer.weight), cast(Uniform, quantizer)(layer.weight))


@pytest.mark.parametrize(("method", "kind"), [(Method.IS_VIT, ShiftUniformLog2), (Method.DOPQ, ReconstructedTanQ)])
def test_methods_put_their_quantizer_behind_the_softmax(method: Method, kind: type[Quantizer]) -> None:
    """And uniform ones everywhere else."""
    found = quantizers(_quantized(_model(), method))
    at_weights = {name for name in found if name.endswith("softmax.quantize_weights")}
    assert at_weights
    assert all(type(found[name]) is (kind if name in at_weights else Uniform) for name in found)


def test_the_median_is_the_scale_of_least_mean_absolute_deviation() -> None:
    """Both readings of MOSF name the same number, and DopQ-ViT's norms get it."""
    torch.manual_seed(0)
    scales = torch.rand(101, dtype=torch.float64) ** 3
    candidates = torch.linspace(float(scales.min()), float(scales.max()), 20001, dtype=torch.float64)
    deviations = (scales[:, None] - candidates).abs().mean(dim=0)
    assert float(candidates[deviations.argmin()]) == pytest.approx(float(DopQCalibration().centre(scales)), abs=1e-4)
    site = LinearSite(QuantLinear(nn.Linear(5, 3)), torch.randn(8, 5), LayerNorm(5), BITS)
    by_channel = Uniform(6, axis=-1)
    by_channel.assign(torch.tensor([0.1, 0.2, 0.3, 4.0, 5.0]), torch.arange(5.0))
    assert float(to_one_scale(site, by_channel, DopQCalibration().centre)[1].scale) == pytest.approx(0.3)


def test_which_scale_stands_for_the_channels_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes stay, and a weight's scale per output takes up the factor: the mean and the median give the same logits."""

    class Median(RepQCalibration):
        centre = DopQCalibration.centre

    model, images = _model(), make_images(CONFIG, 64)
    mean = _quantized(model)
    monkeypatch.setitem(METHODS, Method.REPQ, Median)
    median = _quantized(model)
    scales = [cast(Uniform, quantizers(found)["blocks.0.mlp.fc1.quantize_input"]).scale for found in (mean, median)]
    assert float((scales[0] / scales[1] - 1).abs()) > 0.01
    assert torch.allclose(mean(images), median(images), atol=1e-3)


@pytest.mark.parametrize(("learner", "block"), [(LearntRounding, "blocks.1"), (SmoothOptimisation, "blocks.0")])
def test_shared_weights_are_learnt_in_the_first_block(learner: type[Learner], block: str) -> None:
    """What ``block`` has at its end is not changed by a later block that shares it, whose biases are learnt."""
    model = make_model(varied(CONFIG, owners=(0, 0)), gain=2.0)
    quantized = _quantized(model)
    weight, bias = (quantized.get_parameter(f"blocks.{name}") for name in ("1.mlp.fc1.weight", "1.mlp.fc1.bias"))
    real, offsets, seen = weight.detach().clone(), bias.detach().clone(), {}

    def see(part: str, _step: int, _error: float) -> None:
        seen[part] = weight.detach().clone()

    reconstruct(model, quantized, make_images(CONFIG, 64), learner(), steps=60, progress=see)
    assert quantized.get_parameter("blocks.0.mlp.fc1.weight") is weight
    assert not torch.equal(real, weight)
    assert torch.equal(seen[block], weight)
    assert torch.equal(bias, offsets) == (learner is LearntRounding)
