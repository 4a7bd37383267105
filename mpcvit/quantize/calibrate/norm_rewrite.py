"""Moving channels' scales and offsets from a norm's output into the layer that reads it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mpcvit.quantize.calibrate.calibration import LinearSite


@torch.no_grad()
def rewrite(site: LinearSite, divisor_C: torch.Tensor, offset_C: torch.Tensor) -> LinearSite:
    """Make the site's norm write x / divisor - offset instead of x, and its layer compute what it did; the new site.

    W x + c = (W diag(divisor)) (x / divisor - offset) + (c + W (divisor * offset)). The norm's own gain and bias take
    up the change, whatever it does before them.
    """
    norm, layer = site.norm, site.layer
    assert norm is not None  # noqa: S101 - callers have looked
    layer.add_to_bias(layer.weight @ (divisor_C * offset_C))
    layer.weight = nn.Parameter(layer.weight * divisor_C)
    norm.weight = nn.Parameter(norm.weight / divisor_C)
    norm.bias = nn.Parameter(norm.bias / divisor_C - offset_C)
    return replace(site, x=site.x / divisor_C - offset_C)
