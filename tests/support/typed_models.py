"""Small models of inputs that are no RGB pictures: two layers with random weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from mpcvit.export.exported import Exported, begin, finish
from mpcvit.export.normalisation import Normalisation
from mpcvit.inputs import InputSpec
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.wire.reveal import LOGITS

LABELS = ("a", "b", "c")
_HIDDEN = 8


def of_input(spec: InputSpec) -> Normalisation:
    """Another mean per channel."""
    return Normalisation(tuple(0.3 + 0.1 * k for k in range(spec.channels)), (0.25,) * spec.channels, spec.bits)


def random_net(spec: InputSpec) -> nn.Sequential:
    """A net that tells inputs apart."""
    torch.manual_seed(5)
    count = math.prod(spec.shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(count, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(LABELS))).eval()


@torch.no_grad()
def export_net(net: nn.Sequential, spec: InputSpec) -> Exported:
    """The net as a Program that reads pixels of ``spec``."""
    normalisation = of_input(spec)
    pixels = torch.randint(0, spec.largest + 1, (16, *spec.shape))
    b, x = begin(normalisation.floats(pixels).float(), spec.shape, normalisation, None)
    gain, offset = (
        part[:, None, None].expand(spec.shape).reshape(-1) for part in (normalisation.gain, normalisation.offset)
    )
    first, last = (net[place].double() for place in (1, 3))
    flat = b.reshape("flat", x, 1, gain.numel())
    weight = first.weight.T
    hidden = b.relu("relu", b.affine("hidden", flat, gain[:, None] * weight, first.bias + offset @ weight))
    logits = b.reshape("logits", b.affine("head", hidden, last.weight.T, last.bias), len(LABELS))
    return finish(b, net, normalisation, x, logits, LOGITS)


def typed_model(spec: InputSpec, name: str = "typed") -> tuple[nn.Sequential, ModelFolder]:
    """The net, and the same as an exported model."""
    net = random_net(spec)
    exported, normalisation = export_net(net, spec), of_input(spec)
    description = Description(
        name=name,
        version="1",
        labels=LABELS,
        mean=normalisation.mean,
        std=normalisation.std,
        input=None if spec.is_plain else spec,
    )
    return net, ModelFolder(description, exported.program, exported.weights)
