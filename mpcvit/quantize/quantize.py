"""Post-training quantization: a trained model and calibration pictures in, a quantized model out."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.check_images import check_images
from mpcvit.models.merge_hidden_norms import merge_hidden_norms
from mpcvit.models.norm import TokenNorm
from mpcvit.models.vit import Attention, VisionTransformer
from mpcvit.quantize.calibrate.calibration import Calibration, LinearSite, ProductSite
from mpcvit.quantize.calibrate.capture import ForwardTrace, capture, trace
from mpcvit.quantize.calibrate.windows import calibrate_convolution
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.methods import METHODS
from mpcvit.quantize.places import QuantLayer, shared_parameters, with_places
from mpcvit.quantize.quant_conv import QuantConv
from mpcvit.quantize.reconstruct.reconstruct import LearningProgress, reconstruct

#: The pictures' own values have at least as many bits as they had in their files, as in all papers.
FIRST_LAYER_BITS = 8


@torch.no_grad()
def quantize(
    model: VisionTransformer,
    config: QuantizeConfig,
    images: torch.Tensor,
    *,
    seed: int = 0,
    progress: LearningProgress | None = None,
) -> VisionTransformer:
    """Return a quantized copy of ``model``, in eval mode; ``model`` is not changed.

    All linear layers outside attention kernels, and the operands of attention's products, are quantized. What the first
    layer reads has at least ``FIRST_LAYER_BITS`` bits; the head has the bits of any other layer. Norms, activations,
    the softmax and its stand-ins, and the residual stream stay in real arithmetic. A weight that layers share stays
    shared, with one quantizer: that of the first layer. No method rewrites what is shared. Batch norms behind
    activations go into the layers behind them first.

    Args:
        images: normalised training pictures, float [count, channels, size, size]; the papers use 32, and 1,024 where
            they reconstruct.
        seed: of reconstruction.
        progress: told about reconstruction.

    Raises:
        InputError: ``images`` has another shape than the model's input.
        ConfigError: the configuration names a layer that the model does not have, or gives a weight that layers share
            several widths, or the model is quantized already.
    """
    check_images(images, model.config.input_shape)
    model = merge_hidden_norms(model)
    calibration = METHODS[config.method]()
    quantized = with_places(model)
    put_quantizers(quantized, trace(quantized, images[:1]), calibration, config, images)
    if config.reconstruct:
        learner = calibration.learner()
        reconstruct(model, quantized, images, learner, steps=config.steps, seed=seed, progress=progress)
    return quantized


def put_quantizers(
    quantized: nn.Module, traced: ForwardTrace, calibration: Calibration, config: QuantizeConfig, images: torch.Tensor
) -> None:
    """Put calibrated quantizers into the places of ``quantized``, in place.

    Args:
        traced: of ``quantized``; norms that it names may be rewritten.
        images: normalised pictures, float [count, channels, size, size].

    Raises:
        ConfigError: the configuration names a layer that the model does not have, or gives a weight that layers share
            several widths.
    """
    _check_names(config, set(traced.layers.values()))
    _check_shared(config, quantized)
    shared = shared_parameters(quantized)
    weight_quantizers: dict[torch.Tensor, nn.Module] = {}
    source = quantized if calibration.sequential else copy.deepcopy(quantized)
    for stage in traced.stages():
        seen = capture(source, traced.calls, stage, images)
        for name in dict.fromkeys(traced.layers[place] for place in stage):
            module, bits = quantized.get_submodule(name), config.bits_of(name)
            if name == traced.first:
                bits = Bits(weight=bits.weight, activation=max(bits.activation, FIRST_LAYER_BITS))
            if isinstance(module, Attention):
                calibration.products(_product_site(name, module, seen, bits.activation))
                continue
            layer, x = cast(QuantLayer, module), seen[f"{name}.quantize_input"]
            layer.quantize_weight = weight_quantizers.get(layer.weight, layer.quantize_weight)
            if isinstance(layer, QuantConv):
                calibrate_convolution(calibration, layer, x, bits)
            else:
                norm = None if layer.weight in shared else _norm(quantized, traced, name, x, shared)
                calibration.linear(LinearSite(layer, x.flatten(0, -2), norm, bits))
            weight_quantizers[layer.weight] = layer.quantize_weight


def _norm(
    quantized: nn.Module, traced: ForwardTrace, layer: str, x: torch.Tensor, shared: set[nn.Parameter]
) -> TokenNorm | None:
    """Return the norm that may be rewritten for a layer.

    Not the last one, as in the papers: the head reads one row [C] per picture, too few to know every channel's range.
    """
    if layer not in traced.norms or x.ndim < 3:
        return None
    norm = cast(TokenNorm, quantized.get_submodule(traced.norms[layer]))
    return None if norm.weight in shared else norm


def _product_site(name: str, attention: Attention, seen: dict[str, torch.Tensor], bits: int) -> ProductSite:
    weights = {kind: seen.get(f"{name}.kernels.{kind}.quantize_weights") for kind in attention.kernels}
    q, k, v = (seen[f"{name}.quantize_{operand}"] for operand in "qkv")
    return ProductSite(attention, q, k, v, {kind: x for kind, x in weights.items() if x is not None}, bits)


def _check_names(config: QuantizeConfig, known: set[str]) -> None:
    unknown = [name for name, _ in config.layers if name not in known]
    if unknown:
        raise ConfigError(
            f"bits for {', '.join(unknown)}",
            expected=f"names of the model's layers: {', '.join(sorted(known))}",
            remedy="Correct the names.",
        )


def _check_shared(config: QuantizeConfig, quantized: nn.Module) -> None:
    """Raise ConfigError unless layers of one weight have one width for it."""
    owners: dict[torch.Tensor, str] = {}
    for name, layer in quantized.named_modules():
        if not isinstance(layer, QuantLayer):
            continue
        owner = owners.setdefault(layer.weight, name)
        own, other = config.bits_of(name).weight, config.bits_of(owner).weight
        if own != other:
            raise ConfigError(
                f"{other} weight bits for {owner}, {own} for {name}",
                expected="one width for a weight that both share",
                remedy="Give all layers of a group of blocks that share weights the same weight bits.",
            )
