"""Merit without training, after As-ViT (Chen et al., ICLR 2022): a cheap filter before any proxy training.

Two numbers of a freshly initialised network: how much it lengthens curves in its input space (expressivity; a network
of many linear regions bends a circle a lot), and how well conditioned its neural tangent kernel is (trainability).
As-ViT rewards -change of the one and +change of the other, less a cost; here ranks stand in for changes, as scales of
the two differ, and the cost is the price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer

_REPEATS = 3
_CIRCLE_POINTS = 64
_NTK_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class Merit:
    """Of an untrained network.

    Attributes:
        log_length: natural logarithm of the factor by which a great circle of inputs is lengthened.
        log_condition: natural logarithm of the neural tangent kernel's condition number; less is better.
    """

    log_length: float
    log_condition: float


def merit(config: ViTConfig, seed: int = 0) -> Merit:
    """Return the merit of ``config``, averaged over a few initialisations."""
    with torch.random.fork_rng(devices=[]):
        lengths, conditions = [], []
        for repeat in range(_REPEATS):
            torch.manual_seed(seed * _REPEATS + repeat)
            model = _kaiming(VisionTransformer(config)).eval()
            conditions.append(_log_condition(model))
            lengths.append(_log_length(_without_norms(model)))
    return Merit(log_length=float(np.mean(lengths)), log_condition=float(np.mean(conditions)))


def scores(merits: Sequence[Merit], seconds: Sequence[float]) -> list[float]:
    """Return merit per unit of price: the mean rank of both numbers, in (0, 1], over the price relative to the
    cheapest.
    """
    count = len(merits)
    by_length = _ranks([one.log_length for one in merits])
    by_condition = _ranks([-one.log_condition for one in merits])
    cheapest = min(seconds)
    return [
        (long + well + 2) / (2 * count) / (price / cheapest)
        for long, well, price in zip(by_length, by_condition, seconds, strict=True)
    ]


def select(merits: Sequence[Merit], seconds: Sequence[float], keep: int) -> list[int]:
    """Return the indices of ``keep`` candidates: the best score in each of as many price bands, so that all prices
    stay.
    """
    found = scores(merits, seconds)
    by_price = sorted(range(len(merits)), key=lambda index: seconds[index])
    bands = [band.tolist() for band in np.array_split(np.array(by_price), min(keep, len(merits)))]
    return [max(band, key=lambda index: found[index]) for band in bands]


def _ranks(values: Sequence[float]) -> list[int]:
    """Return the positions from the smallest, 0 first; not-a-number and minus infinity come first."""
    order = np.argsort(np.nan_to_num(np.array(values), nan=-np.inf, neginf=-np.inf), kind="stable")
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values))
    return [int(rank) for rank in ranks]


@torch.no_grad()
def _log_length(model: VisionTransformer) -> float:
    """Return the log of (length of the image of a great circle / length of the circle)."""
    config = model.config
    shape = (config.channels, config.image_size, config.image_size)
    size = math.prod(shape)
    plane = torch.linalg.qr(torch.randn(size, 2)).Q * size**0.5  # two orthogonal pictures of unit variance
    angles = torch.linspace(0, 2 * math.pi, _CIRCLE_POINTS + 1)
    circle = (torch.stack([angles.cos(), angles.sin()], dim=1) @ plane.T).reshape(-1, *shape)
    image = model.intermediates(circle)[1]["pooled"]
    lengths = [(points[1:] - points[:-1]).flatten(1).norm(dim=1).sum().item() for points in (image, circle)]
    return math.log(max(lengths[0], 1e-30) / lengths[1])


def _log_condition(model: VisionTransformer) -> float:
    """Return the log of the ratio of the extreme eigenvalues of the Gram matrix of per-picture gradients of the summed
    logits.
    """
    config = model.config
    images = torch.randn(_NTK_IMAGES, config.channels, config.image_size, config.image_size)
    parameters = [value for value in model.parameters() if value.requires_grad]
    rows = []
    for image in images:
        gradients = torch.autograd.grad(model(image[None]).sum(), parameters, allow_unused=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).double())
    kernel = torch.stack(rows)
    eigenvalues = torch.linalg.eigvalsh(kernel @ kernel.T)
    return math.log(float(eigenvalues[-1]) / max(float(eigenvalues[0]), 1e-12))


def _kaiming(model: VisionTransformer) -> VisionTransformer:
    """Return ``model`` with Kaiming-normal matrices."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
    return model


def _without_norms(model: VisionTransformer) -> VisionTransformer:
    """Return ``model`` with every layer norm replaced by the identity, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm):
                setattr(parent, name, nn.Identity())
    return model
