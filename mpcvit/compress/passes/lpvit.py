"""Block-sparse linear layers (LPViT, ECCV 2024): whole square blocks of weights become 0, in place.

Every layer has a curve of distortion over sparsity, and one budget is spent so that all layers end at the same slope
of their curves. As in the paper, distortion is sampled on the model's answers: at some sparsities, the layer alone
loses its blocks, the mean of what it writes being put back, and the squared change of the logits is taken relative to
their variance. Between samples curves are straight, and they never fall (the paper smooths more samples).
``Distortion.OUTPUTS`` is the squared error of the layer's own outputs instead, relative to their variance, which needs
no run of the model. (Weighting that with the likelihood's gradients was tried and was worse: it takes whole layers
away.) Blocks go in the order of the output error that each makes alone. Then the weights that are left are fitted anew
to what the layer wrote, and the change of the mean goes into the bias.

The secure path multiplies dense matrices: zeros that only the owner knows save nothing there, and a public mask of
blocks, which would save weights to open, tells about the model and is not built. In plaintext they save what the kernel
skips. There is no mask in the model: the weight hook ``kept_zeros`` keeps the zeros in fine-tuning.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, cast

import numpy as np
import torch
from torch import nn

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.fitting.calibration import BATCH, LAYERS, Moments, input_moments
from mpcvit.compress.fitting.least_squares import restricted, ridged
from mpcvit.compress.fitting.module_layers import module_layers
from mpcvit.compress.rebuild import rebuilt
from mpcvit.compress.requirements import check_ordinary_layers, check_own_weights
from mpcvit.errors import ConfigError
from mpcvit.models.vit import VisionTransformer

#: Points of a layer's curve.
_LEVELS = 41
#: Halvings of the interval of slopes.
_BISECTIONS = 60


class Distortion(StrEnum):
    """What a layer's curve is measured on: the model's answers, or the layer's own outputs."""

    ANSWERS = "answers"
    OUTPUTS = "outputs"


@dataclass(frozen=True, kw_only=True)
class LPViT(Compression):
    """Zero blocks.

    Attributes:
        sparsity: share of the weights of all linear layers of blocks that become 0, between 0 and 1.
        block: side of a block; at the edges of matrices blocks may be smaller.
        least: sparsity that every layer has at least.
        distortion: what curves are measured on.
        samples: points of a curve of answers, at least 2; each is a run of the model on all pictures.

    Raises:
        ConfigError: a number is out of its range, or blocks are so large that a layer loses too much with its first.
    """

    name: ClassVar[str] = "lpvit"
    sparsity: float
    block: int = 16
    least: float = 0.05
    distortion: Distortion = Distortion.ANSWERS
    samples: int = 9

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.sparsity < 1 or self.sparsity == 0 or min(self.block, self.samples - 1) < 1:
            raise ConfigError(
                f"a sparsity of {self.sparsity}, at least {self.least} everywhere, in blocks of {self.block},"
                f" {self.samples} samples",
                expected="0 <= least <= sparsity, 0 < sparsity < 1, blocks of 1 or more, and at least 2 samples",
                remedy="Correct the settings.",
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        check_ordinary_layers(model, self.name)
        check_own_weights(model, self.name)
        names = [f"blocks.{number}.{layer}" for number in range(model.config.depth) for layer in LAYERS]
        result = rebuilt(model, model.config)
        self._zero(result, model, input_moments(model, names, images), images, report)
        return result

    def apply_to_module(self, module: nn.Module, images: torch.Tensor, report: Notify) -> nn.Module:
        result = copy.deepcopy(module)
        self._zero(result, module, input_moments(module, module_layers(module, images), images), images, report)
        return result

    def _zero(
        self,
        result: nn.Module,
        model: nn.Module,
        moments: Mapping[str, Moments],
        images: torch.Tensor,
        report: Notify,
    ) -> None:
        """Make blocks of the layers of ``result`` zero, given the moments of their inputs in ``model`` by name."""
        layers = {name: cast(nn.Linear, result.get_submodule(name)) for name in moments}
        curves = {
            name: Curve.of(layer.weight.detach().double().T, moments[name].covariance, self.block)
            for name, layer in layers.items()
        }
        if self.distortion is Distortion.ANSWERS:
            curves = {
                name: replace(
                    curve, distortion=answer_distortion(model, name, curve, moments[name], images, self.samples)
                )
                for name, curve in curves.items()
            }
            report(f"{self.samples} samples of {len(curves)} layers")
        for name, curve in curves.items():
            first = curve.zeros[_floor(curve, self.least)] / curve.zeros[-1]
            if first > self.sparsity:
                raise ConfigError(
                    f"blocks of {self.block} x {self.block}, the first of which is {first:.0%} of {name}",
                    expected=f"smaller blocks, so that no layer must lose more than {self.sparsity:.0%}",
                    remedy="Give smaller blocks, a greater sparsity, or least=0.",
                )
        zeros = round(self.sparsity * sum(layer.weight.numel() for layer in layers.values()))
        for name, level in equal_slopes(curves, zeros, self.least).items():
            _cut(layers[name], curves[name].mask(level), moments[name])


@dataclass(frozen=True)
class Curve:
    """Distortion over sparsity of one layer.

    Attributes:
        order: [I, O], the place of each weight's block in the order in which blocks go.
        counts: blocks that are gone at each level, ascending from 0.
        zeros: weights that are 0 then.
        distortion: of its outputs, or of answers, then, before weights are fitted anew, relative to their variance; not
            falling.
    """

    order: torch.Tensor
    counts: list[int]
    zeros: list[int]
    distortion: list[float]

    @classmethod
    def of(cls, weight: torch.Tensor, covariance: torch.Tensor, block: int) -> Curve:
        """Return the curve of a layer with ``weight`` [I, O] whose inputs have the ``covariance`` [I, I], float64."""
        order, blocks = _block_order(weight, covariance, block)
        variance = float((weight * (covariance @ weight)).sum())
        counts = sorted({round(level * blocks / (_LEVELS - 1)) for level in range(_LEVELS)})
        zeros, distortion, worst = [], [], 0.0
        for count in counts:
            gone = order < count
            lost = torch.where(gone, weight, 0.0)
            error = float((lost * (covariance @ lost)).sum())
            worst = max(worst, error / variance if variance > 0 else 0.0)
            zeros.append(int(gone.sum()))
            distortion.append(worst)
        return cls(order, counts, zeros, distortion)

    def mask(self, level: int) -> torch.Tensor:
        """Return which weights [I, O] stay at a level."""
        return self.order >= self.counts[level]


@torch.no_grad()
def answer_distortion(
    model: nn.Module, name: str, curve: Curve, moments: Moments, images: torch.Tensor, samples: int
) -> list[float]:
    """Return the distortion of the logits at every level of ``curve``, the layer ``name`` alone losing blocks.

    Args:
        moments: of what the layer reads; the mean of what it writes is put back.
        samples: levels that are tried; others lie on the lines between them.
    """
    damaged = copy.deepcopy(model)
    layer, whole = cast(nn.Linear, damaged.get_submodule(name)), cast(nn.Linear, model.get_submodule(name))
    answers = _logits(model, images)
    variance = float((answers - answers.mean(0)).square().mean())
    last = len(curve.counts) - 1
    tried = sorted({round(sample * last / (samples - 1)) for sample in range(samples)})
    found, worst = [], 0.0
    for level in tried:
        lost = torch.where(curve.mask(level), 0.0, whole.weight.double().T)
        layer.weight.copy_(whole.weight.masked_fill(~curve.mask(level).T, 0.0))
        if whole.bias is not None:
            layer.bias.copy_(whole.bias + (moments.mean @ lost).to(whole.bias))
        error = float((_logits(damaged, images) - answers).square().mean()) if level else 0.0
        worst = max(worst, error / variance if variance > 0 else 0.0)
        found.append(worst)
    places = [float(curve.zeros[level]) for level in tried]
    return [float(value) for value in np.interp(curve.zeros, places, found)]


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(batch) for batch in images.split(BATCH)]).double()


def _block_order(weight: torch.Tensor, covariance: torch.Tensor, block: int) -> tuple[torch.Tensor, int]:
    """Return the place of each weight's block in the order of the output error that it makes alone, and how many there
    are.
    """
    rows, columns = (torch.arange(size) // block for size in weight.shape)
    # tr(W_b^T C_bb W_b) for the block of rows b and each column, then summed over the columns of a block
    errors = torch.stack(
        [
            (weight[rows == row] * (covariance[rows == row][:, rows == row] @ weight[rows == row])).sum(0)
            for row in range(int(rows[-1]) + 1)
        ]
    )
    by_block = torch.zeros(len(errors), int(columns[-1]) + 1, dtype=errors.dtype).index_add_(1, columns, errors)
    places = torch.empty(by_block.numel(), dtype=torch.int64)
    places[torch.argsort(by_block.flatten(), stable=True)] = torch.arange(by_block.numel())
    return places.reshape(by_block.shape)[rows][:, columns], by_block.numel()


def equal_slopes(curves: dict[str, Curve], zeros: int, least: float) -> dict[str, int]:
    """Return each layer's level, so that at least ``zeros`` weights are 0 at the least total distortion per weight.

    For a price per weight kept, every layer chooses for itself the level of least distortion plus price; the price is
    found by bisection. Where the chosen levels give more zeros than asked for, the largest price that gives enough
    is the best that one price for all can do.
    """
    floors = {name: _floor(curve, least) for name, curve in curves.items()}

    def chosen(price: float) -> dict[str, int]:
        return {
            name: min(
                range(floors[name], len(curve.counts)),
                key=lambda level, curve=curve: (curve.distortion[level] - price * curve.zeros[level], level),  # type: ignore[misc]
            )
            for name, curve in curves.items()
        }

    low, high = 0.0, 1.0 + sum(curve.distortion[-1] for curve in curves.values())  # a weight cannot be worth more
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        found = sum(curves[name].zeros[level] for name, level in chosen(middle).items())
        low, high = (low, middle) if found >= zeros else (middle, high)
    return chosen(high)


def _floor(curve: Curve, least: float) -> int:
    """Return the first level with the share ``least`` of zeros."""
    return next(level for level, zeros in enumerate(curve.zeros) if zeros >= least * curve.zeros[-1])


@torch.no_grad()
def _cut(layer: nn.Linear, kept: torch.Tensor, moments: Moments) -> None:
    """Make all weights 0 but those ``kept`` [I, O], and fit these to what the layer wrote.

    With a bias, the mean output stays.
    """
    weight = layer.weight.double().T
    fitted = refitted(weight, kept, moments.covariance)
    if layer.bias is not None:
        layer.bias.add_((moments.mean @ (weight - fitted)).to(layer.bias))
    layer.weight.copy_(fitted.T)


def refitted(weight: torch.Tensor, kept: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Return the weights [I, O], 0 but where ``kept``, whose outputs are nearest to those of ``weight``."""
    metric, result = ridged(covariance), torch.zeros_like(weight)
    for pattern in kept.T.unique(dim=0):  # columns of a block have it in common
        columns = (pattern == kept.T).all(1)
        result[pattern.nonzero(), columns.nonzero().T] = restricted(weight[:, columns], pattern, metric)
    return result
