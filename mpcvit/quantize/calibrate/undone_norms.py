"""Which norms of a module can be rewritten because the layer behind them undoes it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from mpcvit.quantize.calibrate.calibration import LinearSite
from mpcvit.quantize.calibrate.norm_rewrite import rewrite
from mpcvit.quantize.config import Bits
from mpcvit.quantize.places import QuantLinear

#: Largest relative difference of answers that is rounding in float64.
_SAME = 1e-9
_ANY_BITS = Bits(weight=8, activation=8)


@torch.no_grad()
def undone_norms(module: nn.Module, norms: Mapping[str, str], images: torch.Tensor) -> dict[str, str]:
    """Return those of ``norms`` whose rewriting does not change what ``module`` computes.

    A layer may not be all that reads a norm: a residual or another branch may, too. So each norm is rewritten with
    factors and offsets drawn at random, in a copy in float64, and the answers are compared. A module that does not run
    in float64 has none.

    Args:
        norms: by the name of a layer, that of the norm whose output it reads.
        images: pictures to compare answers for, float32 [count, channels, size, size].
    """
    probe = copy.deepcopy(module).double()
    try:
        expected = probe(images.double())
    except RuntimeError:  # it has constants in float32
        return {}
    return {layer: norm for layer, norm in norms.items() if _is_undone(probe, layer, norm, images.double(), expected)}


def _is_undone(probe: nn.Module, name: str, norm_name: str, images: torch.Tensor, expected: torch.Tensor) -> bool:
    layer, norm = probe.get_submodule(name), probe.get_submodule(norm_name)
    if not isinstance(layer, QuantLinear) or not isinstance(norm, nn.LayerNorm) or not _has_gain_and_bias(norm):
        return False
    before = layer.weight, layer.bias, norm.weight, norm.bias
    rng = np.random.default_rng(0)
    ends = (0.5, 1.5), (-1.0, 1.0)
    divisor_C, offset_C = (torch.from_numpy(rng.uniform(low, high, layer.in_features)) for low, high in ends)
    no_rows = torch.zeros(0, layer.in_features, dtype=torch.float64)
    rewrite(LinearSite(layer, no_rows, norm, _ANY_BITS), divisor_C, offset_C)  # type: ignore[arg-type]  # a layer norm
    found = probe(images)
    layer.weight, layer.bias, norm.weight, norm.bias = before
    return float((found - expected).norm()) <= _SAME * float(expected.norm())


def _has_gain_and_bias(norm: nn.LayerNorm) -> bool:
    """Return whether a norm of the last axis has both to rewrite."""
    return norm.weight is not None and norm.bias is not None and norm.weight.ndim == 1
