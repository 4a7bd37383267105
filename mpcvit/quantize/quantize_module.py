"""Post-training quantization of any module: its linear layers and convolutions, one by one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.quantize.calibrate.capture import trace
from mpcvit.quantize.calibrate.undone_norms import undone_norms
from mpcvit.quantize.config import QuantizeConfig
from mpcvit.quantize.methods import METHODS
from mpcvit.quantize.places import with_layer_places
from mpcvit.quantize.quantize import put_quantizers


@torch.no_grad()
def quantize_module(module: nn.Module, config: QuantizeConfig, images: torch.Tensor) -> nn.Module:
    """Return a quantized copy of any module, in eval mode; ``module`` is not changed.

    All ``nn.Linear`` and ``nn.Conv2d`` that its forward calls are quantized, and go by their paths (``stem.0``). What
    the first layer reads has at least 8 bits. Products of activations, norms and activations stay in real arithmetic:
    where they are is known for this package's own models only. A norm is rewritten (RepQ-ViT, MPTQ) where the module
    stays the same function, which is tried.

    Args:
        images: normalised training pictures, float32 [count, channels, size, size].

    Raises:
        ConfigError: the configuration names a layer that the module does not call, gives a weight that layers share
            several widths, or asks for reconstruction, which goes block by block; or the module has no such layers.
    """
    if config.reconstruct:
        raise ConfigError(
            "reconstruction of a module that is traced",
            expected="a Vision Transformer of this package, whose blocks are known",
            remedy="Leave out --reconstruct.",
        )
    quantized = with_layer_places(module)
    traced = trace(quantized, images[:1])
    if not traced.calls:
        raise ConfigError(
            "a module that calls none of its linear layers and convolutions",
            expected="layers that are called as modules are",
            remedy="Call the layers, where forward now uses their weights.",
        )
    traced = replace(traced, norms=undone_norms(quantized, traced.norms, images[:1]))
    put_quantizers(quantized, traced, METHODS[config.method](), config, images)
    return quantized
