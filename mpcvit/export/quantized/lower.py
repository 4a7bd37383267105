"""What a quantized model becomes on secret shares: plain weights, coarser values at gates, and no clamps.

On shares any weight costs the same, so quantized weights are simply the weights; scales and zero points that methods
have moved into norms and weights stay there. Activations are fixed point without clamps, which would cost two
comparisons an element. Low widths pay only where a gate makes the value: comparisons look at fewer bits, splines need
fewer knots (:attr:`mpcvit.export.builder.Precision.steps`). There a uniform quantizer's step is kept, rounded down to a
power of two; everywhere else, and for logarithms and twin ranges, values have the ordinary step, which is finer. A
quadratic activation is no gate, and export reads and gives it in other units (:mod:`mpcvit.export.fold_mlp`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from mpcvit.export.parts import Part, Role
from mpcvit.export.traced.coarse_gates import READ_FINER, coarse_gates
from mpcvit.export.traced.export import graph_of
from mpcvit.export.traced.model import TracedModel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.places import QuantLinear, places, quantizers, without_places
from mpcvit.quantize.quantizers.adalog import AdaLog
from mpcvit.quantize.quantizers.power_of_two import PowerOfTwo
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.uniform import Uniform

_COARSE = "fixed point with the largest power of two below the step, not clamped"
_ORDINARY = "ordinary fixed point, finer and not clamped"
_Model = TypeVar("_Model", bound=nn.Module)
_PLACE = re.compile(r"(?:blocks\.(\d+)\.)?(.+?)\.quantize_(\w+)")


@dataclass(frozen=True)
class Replacement:
    """A quantizer that the secure path does not have.

    Attributes:
        places: where it sits, by name.
        quantizer: its kind and width.
        instead: what the secure path does there.
    """

    places: tuple[str, ...]
    quantizer: str
    instead: str

    def patterns(self, depth: int) -> list[str]:
        """Return the places, blocks together: ``blocks.*.mlp.fc2 input``, or ``blocks.0,2.attn q`` for some of them.

        Args:
            depth: number of blocks of the model.
        """
        blocks: dict[str, list[str]] = {}
        for place in self.places:
            match = _PLACE.fullmatch(place)
            assert match is not None  # noqa: S101 - so are places named
            number, owner, what = match.groups()
            blocks.setdefault(f"{owner} {what}", []).extend([number] if number else [])
        names = {
            what: "" if not numbers else f"blocks.{'*' if len(numbers) == depth else ','.join(numbers)}."
            for what, numbers in blocks.items()
        }
        return [f"{where}{what}" for what, where in names.items()]


@dataclass(frozen=True)
class Lowered:
    """A quantized model as export takes it.

    Attributes:
        model: without quantizers; its weights are the quantized ones.
        steps: for ``Precision.steps``.
        replaced: what is different from the quantized model.
    """

    model: VisionTransformer | TracedModel
    steps: tuple[tuple[str, float], ...]
    replaced: tuple[Replacement, ...]


@torch.no_grad()
def lower(quantized: VisionTransformer) -> Lowered:
    """Return what ``quantized`` (of :func:`mpcvit.quantize.quantize`, not changed) is on secret shares."""
    found, steps, coarse = quantizers(quantized), dict[str, float](), set[str]()
    for place, (result, operand) in _gates(quantized.config):
        step = _step(found[place]) if place in found else None
        if step is not None:
            coarse.add(place)
            steps |= {result: step, operand: step / READ_FINER}
    return Lowered(without_places(_without_shifts(quantized)), tuple(sorted(steps.items())), _replaced(found, coarse))


@torch.no_grad()
def lower_module(quantized: TracedModel) -> Lowered:
    """Return what a module (of :func:`mpcvit.quantize.quantize_module`, not changed) is on secret shares.

    Steps are kept where an activation gives what quantized layers alone read.
    """
    found, suffix = quantizers(quantized.module), ".quantize_input"
    plain = TracedModel(without_places(_without_shifts(quantized.module)), quantized.config)
    steps = {
        place.removesuffix(suffix): step
        for place, quantizer in found.items()
        if place.endswith(suffix) and (step := _step(quantizer)) is not None
    }
    values, layers = coarse_gates(graph_of(plain), steps)
    return Lowered(plain, tuple(sorted(values.items())), _replaced(found, {f"{layer}{suffix}" for layer in layers}))


def narrowing_layer(part: Part) -> str | None:
    """Return the layer whose activation bits decide what nodes of this part cost; None if no layer's do."""
    layer = {Role.ACTIVATION: "mlp.fc2", Role.WEIGHTS: "attn"}.get(part.role)
    return None if layer is None else f"blocks.{part.block}.{layer}"


def _gates(config: ViTConfig) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield by the place of the quantizer behind each gate, the names of the values that the gate makes and reads."""
    kind = AttentionKind.RELU_SOFTMAX
    for number, block in enumerate(config.blocks):
        place, value = f"blocks.{number}", f"block{number}"
        if block.activation.facts.gate:
            yield f"{place}.mlp.fc2.quantize_input", (f"{value}.act", f"{value}.fc1")
        attention = f"{value}.attn.{kind}"
        yield f"{place}.attn.kernels.{kind}.quantize_weights", (f"{attention}.weights", f"{attention}.scores")


def _without_shifts(quantized: _Model) -> _Model:
    """Return a copy in which no layer's bias has taken up a shift of its input's quantizer."""
    clear = copy.deepcopy(quantized)
    for name, quantizer in quantizers(clear).items():
        layer = places(clear)[name].module
        if isinstance(quantizer, AdaLog) and not quantizer.restore and isinstance(layer, QuantLinear):
            layer.add_to_bias(quantizer.shift * layer.quantized_weight().sum(dim=1))
            quantizer.restore = True
    return clear


def _step(quantizer: Quantizer) -> float | None:
    """Return the step between codes; None where it is not the same everywhere."""
    if isinstance(quantizer, Uniform) and quantizer.scale.numel() == 1:
        return float(quantizer.scale)
    return float(torch.exp2(-quantizer.frac)) if isinstance(quantizer, PowerOfTwo) else None


def _replaced(found: dict[str, Quantizer], coarse: set[str]) -> tuple[Replacement, ...]:
    """Return activations' quantizers by what becomes of them; weights' are kept as they are.

    Args:
        coarse: places whose step is kept.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for place, quantizer in found.items():
        if not place.endswith("quantize_weight"):
            instead = _COARSE if place in coarse else _ORDINARY
            groups.setdefault((f"{quantizer.kind}, {quantizer.bits} bits", instead), []).append(place)
    return tuple(Replacement(tuple(places), *what) for what, places in groups.items())
