"""Modules that are exported through torch.export, in tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import NOISE
from mpcvit.export.traced.factory import traced_model
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from tests.support.images import of_pixels

CHANNELS = 3


class Function(nn.Module):
    """A module of some layers, and a function of them and the pictures."""

    def __init__(self, function: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.function(self, pictures)
        return result


@torch.no_grad()
def enlivened(module: nn.Module, seed: int = 1) -> nn.Module:
    """The module with weights as lively as trained ones, in eval mode."""
    torch.manual_seed(seed)
    for name, parameter in module.named_parameters():
        if name.endswith("weight") and parameter.ndim >= 2:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
        elif name.endswith("weight"):
            parameter.uniform_(0.6, 1.4)
        elif "gamma" in name or "scale" in name:
            parameter.uniform_(0.3, 0.8)
        else:
            parameter.normal_(0.0, 0.2)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.1)
    return module.eval()


def pictures(size: int, count: int = 6) -> torch.Tensor:
    """Normalised noise of 8-bit pixels."""
    torch.manual_seed(3)
    return of_pixels(torch.randn(count, CHANNELS, size, size).clamp(-2, 2))


def exported(module: nn.Module, size: int, *, allow_calibrated: bool = False) -> Exported:
    """The Program of a module for pictures of that size."""
    precision = Precision(stock_wraps=float("inf"))
    model = traced_model(module, CHANNELS, size, size)
    return export_model(model, pictures(size), precision, normalisation=NOISE, allow_calibrated=allow_calibrated)


def codes(size: int, count: int = 2) -> Codes:
    """What Programs read of :func:`pictures`."""
    return NOISE.pixels(pictures(size)[:count]).long().numpy()


def difference(module: nn.Module, found: Exported, size: int) -> float:
    """The largest difference of logits between a module and its Program on integer codes in clear."""
    output = run_reference(found.program, found.weights, {"image": codes(size)})
    logits = decode(output, found.program.types[found.program.output].frac)
    with torch.no_grad():
        expected = torch.cat([module(picture[None]) for picture in pictures(size)[:2]])
    return float(np.abs(logits - expected.numpy()).max())
