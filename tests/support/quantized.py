"""Small models with quantizers, for tests."""

from __future__ import annotations

import copy

from torch import nn

from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, Norm, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.places import places
from mpcvit.quantize.quantize import quantize
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, make_variant

METHODS = list(Method)
#: Two blocks with one head of a softmax each, and GELU: what the papers quantize.
PAPERS = varied(
    BASE, heads=((AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX),) * 2, activation=(Activation.GELU,) * 2
)
SELECTING = varied(
    BASE,
    norms=((Norm.AFFINE, Norm.AFFINE),) * 2,
    reduction=tuple(Reduction(kind=ReductionKind.EVIT, keep=keep) for keep in (6, 4)),
)


def settings(method: Method, weight: int, activation: int | None = None) -> QuantizeConfig:
    """All layers at these widths."""
    return QuantizeConfig(method=method, bits=Bits(weight=weight, activation=activation or weight))


def quantized(method: Method, bits: int, config: ViTConfig = PAPERS) -> tuple[VisionTransformer, VisionTransformer]:
    """A model and its quantized copy."""
    model = make_variant(config)
    return model, quantize(model, settings(method, bits), make_images(config, 16))


def without_activation_quantizers(model: VisionTransformer) -> VisionTransformer:
    """A copy that rounds nothing any more, not even weights."""
    clear = copy.deepcopy(model)
    for place in places(clear).values():
        place.put(nn.Identity())
    return clear
