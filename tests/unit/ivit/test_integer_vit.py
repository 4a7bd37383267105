"""The integer-only graph: the float model's answers, integers everywhere, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mpcvit.errors import ConfigError, InputError
from mpcvit.ivit import integer_vit
from mpcvit.ivit.linear import integer_linear
from mpcvit.models.block import Gate
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, Norm
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import configured, varied
from tests.support.images import make_images
from tests.support.models import make_model

SOFTMAX, RELU_SOFTMAX, SCALING = AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING
CONFIG = configured(
    image_size=16,
    patch_size=4,
    classes=5,
    dim=32,
    hidden=48,
    heads=((SOFTMAX,) * 4,) * 2,
    activation=(Activation.GELU,) * 2,
)
MODELS = {
    "softmax-gelu": CONFIG,
    "class-token": replace(CONFIG, class_token=True),
    "lepe": replace(CONFIG, lepe=8, class_token=True),
    "mixed": varied(
        CONFIG,
        heads=((SCALING, RELU_SOFTMAX, SCALING, SOFTMAX), (RELU_SOFTMAX,) * 4),
        activation=(Activation.RELU, Activation.IDENTITY),
    ),
}


def _model(name: str) -> VisionTransformer:
    model = make_model(MODELS[name], gain=1.5)
    for key, parameter in model.named_parameters():
        if "lepe" in key:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_the_float_models(name: str) -> None:
    """On pictures not calibrated on: nine labels of ten, and logits within a fifth of their own spread (rms)."""
    model = _model(name)
    images = make_images(model.config, 200, seed=7)
    exact, result = model(images), integer_vit(model, make_images(model.config, 100)).forward(images)
    assert float((result.argmax(1) == exact.argmax(1)).double().mean()) > 0.9
    assert float((result - exact).square().mean().sqrt()) < 0.2 * float((exact - exact.mean(0)).square().mean().sqrt())


def test_scores_near_zero_are_equal_weights() -> None:
    """Steps of a score are not finer than Shiftmax can take, however small the scores are."""
    model, images = _model("softmax-gelu"), make_images(CONFIG, 50)
    for name, parameter in model.named_parameters():
        if ".qkv." in name:
            parameter[: 2 * CONFIG.dim] *= 1e-3
    integer = integer_vit(model, images)
    assert {heads.unit for block in integer.blocks for _, heads in block.attention.groups} == {1 << 10}
    exact, result = model(images), integer.forward(images)
    assert float((result - exact).square().mean().sqrt()) < 0.2 * float((exact - exact.mean(0)).square().mean().sqrt())


class _Integers(TorchDispatchMode):
    """Notes every tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0
        self.dtypes: set[torch.dtype] = set()
        self.fractions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.numel() and "empty" not in func.__name__:
                self.dtypes.add(tensor.dtype)
                if tensor.is_floating_point():
                    self.fractions += int((tensor != tensor.round()).sum()) + int((tensor.abs() >= 2.0**53).sum())
                else:
                    self.largest = max(self.largest, int(tensor.max()), -int(tensor.min()))
        return result


@pytest.mark.parametrize("name", MODELS)
def test_every_number_on_the_way_is_an_integer(name: str) -> None:
    """int64 below 2**62, and float64 only as a carrier of integers below 2**53 inside a product of matrices."""
    integer = integer_vit(_model(name), make_images(MODELS[name], 50))
    codes = integer.encode(make_images(MODELS[name], 4, seed=9))
    with _Integers() as seen:
        logits = integer.logit_codes(codes)
    assert logits.dtype == torch.int64
    assert seen.dtypes == {torch.int64, torch.float64}
    assert seen.fractions == 0
    assert 2**31 < seen.largest < 2**62


def test_input_codes_have_8_bits_and_logits_16() -> None:
    """At both ends, for pictures far outside the calibrated range too."""
    integer = integer_vit(_model("class-token"), make_images(CONFIG, 20))
    images = 100 * make_images(CONFIG, 5)
    assert (int(integer.encode(images).min()), int(integer.encode(images).max())) == (-128, 127)
    assert integer.logit_codes(integer.encode(images)).abs().max() <= 2**15
    logits = integer.logit_codes(integer.encode(images)).double() * integer.logit_scale
    assert torch.equal(integer.forward(images), logits)


def test_linear_layer_against_its_formula() -> None:
    """Weights round(w / s) with s = max|w| / 127 per row, biases at the product's scale, one rounding behind."""
    torch.manual_seed(0)
    weight, bias, codes = torch.randn(6, 9), torch.randn(6), torch.randint(-128, 128, (4, 9))
    steps = weight.double().abs().amax(1) / 127
    real = (codes.double() * 0.02) @ ((weight / steps[:, None]).round() * steps[:, None]).T + bias
    layer = integer_linear(weight, bias, reads=0.02, writes=0.05, bits=16)
    assert layer.weight.abs().amax(0).tolist() == [127] * 6
    assert float((layer(codes) - real / 0.05).abs().max()) <= 0.5 + 1e-3


def test_linear_layer_with_a_row_of_zeros_and_a_large_bias() -> None:
    """Biases far larger than the weights still fit 32 bits, and come out right."""
    weight = torch.tensor([[0.0, 0.0], [1e-12, -1e-12]])
    layer = integer_linear(weight, torch.tensor([3.0, -2.0]), reads=0.01, writes=0.001, bits=16)
    assert layer(torch.tensor([[100, -100]])).tolist() == [[3000, -2000]]
    assert layer.bias.abs().max() <= 2**30


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"heads": ((AttentionKind.QUAD2, SOFTMAX, SOFTMAX, SOFTMAX),) * 2}, "2quad"),
        ({"activation": (Activation.GELU, Activation.QUAD)}, "quad"),
        ({"norms": ((Norm.LAYERNORM, Norm.BATCHNORM),) * 2}, "batchnorm"),
        ({"gate": (None, Gate(axis=GateAxis.TOKEN, kept=(1,)))}, "gates"),
        ({"gmm": 2}, "masks"),
    ],
)
def test_kinds_without_an_integer_form_are_refused(fields: dict[str, Any], named: str) -> None:
    """By name, with what could be done."""
    config = varied(CONFIG, **fields)
    with pytest.raises(ConfigError, match=named) as caught:
        integer_vit(make_model(config), make_images(config, 2))
    assert "layer norms" in str(caught.value)


def test_pictures_of_another_size_are_refused() -> None:
    """When made and when used."""
    wrong = make_images(replace(CONFIG, image_size=8), 2)
    with pytest.raises(InputError, match="16, 16"):
        integer_vit(_model("softmax-gelu"), wrong)
    with pytest.raises(InputError, match="16, 16"):
        integer_vit(_model("softmax-gelu"), make_images(CONFIG, 4)).forward(wrong)
