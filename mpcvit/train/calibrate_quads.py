"""Quadratic activations that begin as the best fit to those that they stand in for."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from mpcvit.models.activation import Quad


@torch.no_grad()
def calibrate_quads(model: nn.Module, teacher: nn.Module, pictures_BCHW: torch.Tensor) -> list[str]:
    """Fit every quad of ``model`` where ``teacher`` has another activation; the names of those.

    Each becomes the quadratic nearest to the teacher's activation of the same name on the values that this reads when
    the teacher, which is put in eval mode, sees ``pictures_BCHW`` (normalised). MPCFormer's coefficients, which a quad
    has otherwise, are the same for all blocks. On the shipped model's blocks their root mean square error is 0.45 to
    1.1, where the fit has 0.12 to 0.28.

    Draws no random numbers: all processes of a run get the same coefficients.
    """
    theirs = dict(teacher.named_modules())
    quads = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Quad) and name in theirs and not isinstance(theirs[name], Quad)
    }

    def fit(quad: Quad, activation: nn.Module, read: tuple[Any, ...], written: torch.Tensor) -> None:
        quad.calibrate(read[0], written)

    hooks = [theirs[name].register_forward_hook(partial(fit, quad)) for name, quad in quads.items()]
    try:
        if quads:
            teacher.eval()(pictures_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return list(quads)
