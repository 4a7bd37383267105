"""Models with places for quantizers, and the names of these places.

A quantized model is a :class:`VisionTransformer` whose linear layers are :class:`QuantLinear` and whose attention holds
quantizers for the operands of its products. Linear layers inside attention kernels (THE-X's) stay as they are: they
are a function of one number per row, part of the kind's stand-in for a softmax, and export makes one line of them.
Convolutions of V (LePE) and Linformer's projections stay in real arithmetic too; what they read is quantized.

In any other module, linear layers and convolutions have places; products of activations have none.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import linear

from mpcvit.errors import ConfigError
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.vit import Attention, VisionTransformer
from mpcvit.quantize.quant_conv import QuantConv
from mpcvit.quantize.quantizers.quantizer import Quantizer


class QuantLinear(nn.Linear):
    """A linear layer that rounds what it reads, and its weight.

    Args:
        layer: whose parameters this takes over.

    Attributes:
        quantize_input, quantize_weight: quantizers; the identity at first.
    """

    bias: nn.Parameter | None  # type: ignore[assignment]  # torch's stubs forget that there may be none

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.quantize_input: nn.Module = nn.Identity()
        self.quantize_weight: nn.Module = nn.Identity()

    def quantized_weight(self) -> torch.Tensor:
        """Return the weight [out, in] after rounding."""
        weight: torch.Tensor = self.quantize_weight(self.weight)
        return weight

    def plain(self) -> nn.Linear:
        """Return a layer without quantizers that has the rounded weight."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(self.quantized_weight().detach())
        layer.register_parameter("bias", self.bias)
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(self.quantize_input(x), self.quantized_weight(), self.bias)

    @torch.no_grad()
    def add_to_bias(self, amount: torch.Tensor) -> None:
        """Add ``amount`` [out] to the bias, which is made if there is none."""
        self.bias = nn.Parameter(amount.clone() if self.bias is None else self.bias + amount)


#: Layers that have places.
QuantLayer = QuantLinear | QuantConv

_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True)
class Place:
    """Where a quantizer sits: an attribute of a module."""

    module: nn.Module
    attribute: str

    def get(self) -> nn.Module:
        """Return what sits there."""
        return self.module.get_submodule(self.attribute)

    def put(self, quantizer: nn.Module) -> None:
        """Replace what sits there."""
        setattr(self.module, self.attribute, quantizer)


def with_places(model: VisionTransformer) -> VisionTransformer:
    """Return a deep copy of ``model``, in eval mode, whose linear layers are QuantLinear with no quantizers yet.

    A layer that several modules share stays shared.

    Raises:
        ConfigError: a linear layer is of a subclass, which may compute something else; as those of a quantized model.
    """
    quantized = copy.deepcopy(model).eval()
    _replace(quantized, "", {})
    return quantized


def _replace(parent: nn.Module, path: str, replaced: dict[nn.Module, QuantLinear]) -> None:
    for name, child in list(parent.named_children()):
        if isinstance(child, AttentionKernel) or child in replaced.values():
            continue
        if not isinstance(child, nn.Linear):
            _replace(child, f"{path}{name}.", replaced)
            continue
        if type(child) is not nn.Linear:
            raise ConfigError(
                f"a layer {path}{name} of type {type(child).__name__}",
                expected="a model in real arithmetic, whose linear layers are of type Linear",
                remedy="Quantize the trained model, not one that is quantized.",
            )
        if child not in replaced:
            replaced[child] = QuantLinear(child)
        setattr(parent, name, replaced[child])


def with_layer_places(module: nn.Module) -> nn.Module:
    """Return a deep copy of any module, in eval mode, whose linear layers and convolutions have places, empty yet.

    Layers of subclasses, and layers that compute their weights by hooks (weight norm), stay as they are.

    Raises:
        ConfigError: the module is quantized already, or has no such layer.
    """
    quantized = copy.deepcopy(module).eval()
    if any(isinstance(child, QuantLayer) for child in quantized.modules()):
        raise ConfigError(
            "a module with quantizers", expected="a module in real arithmetic", remedy="Quantize the trained module."
        )
    replaced: dict[nn.Module, QuantLayer] = {}
    for parent in list(quantized.modules()):
        for name, child in list(parent.named_children()):
            if _is_plain(child):
                layer = replaced[child] if child in replaced else _quantizable(child)
                setattr(parent, name, replaced.setdefault(child, layer))
    if not replaced:
        raise ConfigError(
            "a module without nn.Linear and nn.Conv2d",
            expected="such layers, which are what is quantized",
            remedy="Export it as it is, or write its layers with nn.Linear and nn.Conv2d.",
        )
    return quantized


def _is_plain(child: nn.Module) -> bool:
    return type(child) in (nn.Linear, nn.Conv2d) and not child._forward_pre_hooks and not child._forward_hooks


def _quantizable(child: nn.Module) -> QuantLayer:
    return QuantConv(child) if isinstance(child, nn.Conv2d) else QuantLinear(child)  # type: ignore[arg-type]


def without_places(model: _Model) -> _Model:
    """Return a deep copy of ``model`` with plain layers of the rounded weights, and no quantizers.

    What layers share stays shared: layers and, with the equal quantizers that they have, weights.
    """
    plain = copy.deepcopy(model)
    for place in places(plain).values():
        if not isinstance(place.module, QuantLayer):
            place.put(nn.Identity())
    layers: dict[nn.Module, nn.Linear | nn.Conv2d] = {}
    weights: dict[torch.Tensor, torch.Tensor] = {}
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, QuantLayer):
                continue
            if child not in layers:
                layers[child] = child.plain()
                layers[child].weight = weights.setdefault(child.weight, layers[child].weight)
            setattr(parent, name, layers[child])
    return plain


def places(model: nn.Module) -> dict[str, Place]:
    """Return all places for quantizers in a model or a part of one, by names such as
    ``blocks.3.mlp.fc1.quantize_weight``.
    """
    return {f"{name}.{place.attribute}": place for name, module in model.named_modules() for place in _places(module)}


def _places(module: nn.Module) -> Iterator[Place]:
    attributes: tuple[str, ...] = ()
    if isinstance(module, QuantLayer):
        attributes = ("quantize_input", "quantize_weight")
    elif isinstance(module, Attention):
        attributes = ("quantize_q", "quantize_k", "quantize_v")
    elif isinstance(module, AttentionKernel):
        attributes = ("quantize_weights",)
    return (Place(module, attribute) for attribute in attributes)


def quantizers(model: nn.Module) -> dict[str, Quantizer]:
    """Return the quantizers in ``model`` by the names of their places."""
    found = {name: place.get() for name, place in places(model).items()}
    return {name: quantizer for name, quantizer in found.items() if isinstance(quantizer, Quantizer)}


def shared_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that several modules have (``ViTConfig.sharing``)."""
    modules = Counter(parameter for module in model.modules() for parameter in module.parameters(recurse=False))
    return {parameter for parameter, count in modules.items() if count > 1}
