"""Any module quantized: its linear layers and convolutions, one by one."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.quantize.calibrate.capture import trace
from mpcvit.quantize.calibrate.undone_norms import undone_norms
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.places import QuantLinear, quantizers, with_layer_places, without_places
from mpcvit.quantize.quant_conv import QuantConv
from mpcvit.quantize.quantize_module import quantize_module
from tests.support.hybrids import SIZE, hybrid
from tests.support.traced import Function, pictures

IMAGES = pictures(SIZE, 12)
LAYERS = ("stem.0", "local", "fc1", "fc2", "head")


def settings(method: Method, bits: int) -> QuantizeConfig:
    return QuantizeConfig(method=method, bits=Bits(weight=bits, activation=bits))


def test_every_layer_has_quantizers_and_the_module_none() -> None:
    """Input and weight of linear layers and convolutions; pictures keep 8 bits; the module itself stays as it was."""
    module = hybrid()
    before = copy.deepcopy(module.state_dict())
    result = quantize_module(module, settings(Method.MINMAX, 4), IMAGES)
    found = quantizers(result)
    assert set(found) == {f"{layer}.quantize_{part}" for layer in LAYERS for part in ("input", "weight")}
    assert {name: q.bits for name, q in found.items() if q.bits != 4} == {"stem.0.quantize_input": 8}
    assert not any(isinstance(child, QuantLinear | QuantConv) for child in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


METHODS = [pytest.param(method, marks=pytest.mark.slow if method is Method.ADALOG else ()) for method in Method]


@pytest.mark.parametrize("method", METHODS)
def test_many_bits_change_little_and_few_bits_more(method: Method) -> None:
    """The relative error of logits is small at W12A12, and grows as bits fall."""
    module = hybrid()
    with torch.no_grad():
        expected = module(IMAGES)
        errors = [
            float((quantize_module(module, settings(method, bits), IMAGES)(IMAGES) - expected).norm() / expected.norm())
            for bits in (12, 6, 3)
        ]
    clipped = method in (Method.REPQ, Method.PERCENTILE, Method.IS_VIT, Method.DOPQ)
    assert errors[0] < (0.05 if clipped else 0.01)
    assert errors[0] < errors[1] < errors[2]


@torch.no_grad()
def test_rounded_weights_of_a_convolution_are_on_a_grid_per_channel() -> None:
    """Also where it is in groups; without quantizers, a plain convolution has them."""
    result = quantize_module(hybrid(), settings(Method.REPQ, 3), IMAGES)
    plain = without_places(result)
    for name in ("stem.0", "local"):
        layer = plain.get_submodule(name)
        assert type(layer) is nn.Conv2d
        assert torch.equal(layer.weight, result.get_submodule(name).quantized_weight())
        assert all(len(channel.unique()) <= 8 for channel in layer.weight)
        assert len(layer.weight.unique()) > 8


@torch.no_grad()
def test_a_norm_is_rewritten_where_nothing_else_reads_it() -> None:
    """RepQ gives the channels in front of fc1 one scale, and fc1 takes it back. The head reads a mean."""
    module = hybrid()
    result = quantize_module(module, settings(Method.REPQ, 8), IMAGES)
    assert not torch.equal(result.norm.weight, module.norm.weight)
    assert torch.equal(result.last_norm.weight, module.last_norm.weight)
    exact = in_real_arithmetic(result)
    assert torch.allclose(exact(IMAGES), module(IMAGES), atol=1e-4)


def in_real_arithmetic(quantized: nn.Module) -> nn.Module:
    """The rewritten module in real arithmetic: weights as they were before rounding."""
    clear = copy.deepcopy(quantized)
    for name, layer in list(clear.named_modules()):
        if isinstance(layer, QuantLinear | QuantConv):
            layer.quantize_input, layer.quantize_weight = nn.Identity(), nn.Identity()
            parent, _, attribute = name.rpartition(".")
            setattr(clear.get_submodule(parent), attribute, layer.plain())
    return clear


def test_a_norm_with_two_readers_is_left_alone() -> None:
    """A residual behind the norm, which hooks do not see, would read the rewritten values."""

    def post_norm(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = module.norm(x.flatten(1))
        return module.fc(y) + y[:, :4]

    def alone(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return module.fc(module.norm(x.flatten(1)))

    for function, expected in ((post_norm, {}), (alone, {"fc": "norm"})):
        module = Function(function, norm=nn.LayerNorm(48), fc=nn.Linear(48, 4)).eval()
        quantized = with_layer_places(module)
        images = pictures(4, 2)
        assert undone_norms(quantized, trace(quantized, images[:1]).norms, images) == expected


@pytest.mark.slow
def test_shifts_of_logarithms_stay_out_of_convolutions() -> None:
    """A shift that the bias took back would be missing in the zeros around the grid."""
    module = Function(
        lambda self, x: self.conv(nn.functional.gelu(x)).mean((2, 3)), conv=nn.Conv2d(3, 4, 3, padding=1)
    ).eval()
    with torch.no_grad():
        result = quantize_module(module, settings(Method.ADALOG, 6), IMAGES)
        error = (result(IMAGES) - module(IMAGES)).norm() / module(IMAGES).norm()
    assert error < 0.05


def test_what_does_not_make_sense_is_refused() -> None:
    """Reconstruction, unknown layers, a module that is quantized, and one without layers: got, expected, remedy."""
    module, config = hybrid(), settings(Method.MINMAX, 8)
    with pytest.raises(ConfigError, match="reconstruction of a module"):
        quantize_module(module, replace(config, reconstruct=True), IMAGES)
    with pytest.raises(ConfigError, match=r"bits for nowhere.*fc1"):
        quantize_module(module, replace(config, layers=(("nowhere", Bits(weight=8, activation=8)),)), IMAGES)
    with pytest.raises(ConfigError, match="a module with quantizers"):
        quantize_module(quantize_module(module, config, IMAGES), config, IMAGES)
    with pytest.raises(ConfigError, match="a module without"):
        quantize_module(Function(lambda _, x: x.mean((2, 3))), config, IMAGES)
    unused = Function(lambda self, x: nn.functional.linear(x.mean((2, 3)), self.fc.weight), fc=nn.Linear(3, 4))
    with pytest.raises(ConfigError, match="calls none of its linear layers"):
        quantize_module(unused, config, IMAGES)
