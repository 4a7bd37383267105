"""Tiny models that cover every activation, gate and norm; shared by unit and conformance tests."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Precision
from mpcvit.models.block import Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.hidden_norm import HiddenNorm
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, Norm
from mpcvit.models.norm import AffineNorm, BatchNorm
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import configured, varied
from tests.support.images import make_images
from tests.support.models import make_model

#: Nine patches, so that tokens come in an odd number, and two blocks, so that a block reads what another one wrote.
BASE = configured(
    image_size=12,
    patch_size=4,
    classes=3,
    dim=12,
    hidden=16,
    heads=((AttentionKind.SCALING, AttentionKind.SCALING),) * 2,
    activation=(Activation.RELU,) * 2,
)
#: Norms on just the range of the calibration data have splines that are quick to fit; tests classify these data only.
NARROW = Precision(norm_margin=1.25, calibrated=True)
#: The same for tests in which errors do not matter.
QUICK = Precision(relative=2.0**-6, norm_margin=1.25, calibrated=True)
LAYER, BATCH, AFFINE = Norm.LAYERNORM, Norm.BATCHNORM, Norm.AFFINE
GELU, RELU, QUAD, IDENTITY = Activation.GELU, Activation.RELU, Activation.QUAD, Activation.IDENTITY


def tokens(*kept: int) -> Gate:
    """A gate among tokens."""
    return Gate(axis=GateAxis.TOKEN, kept=kept)


def channels(*kept: int) -> Gate:
    """A gate among channels."""
    return Gate(axis=GateAxis.CHANNEL, kept=kept)


def variant(*activations: Activation, gate: tuple[Gate | None, ...] = (), **fields: object) -> ViTConfig:
    """BASE with other MLPs."""
    return varied(BASE, activation=activations, gate=gate, **fields)


VARIANTS = {
    "token-gelu-relu": variant(GELU, RELU, gate=(tokens(0, 4, 8), tokens(1, 2, 3, 7))),
    "token-prefix-suffix": variant(RELU, RELU, gate=(tokens(0, 1), tokens(7, 8))),
    "token-quad-all": variant(QUAD, QUAD, gate=(tokens(2, 3, 6), tokens(*range(9)))),
    "token-identity-none": variant(IDENTITY, RELU, gate=(tokens(2), None)),
    "token-class-kept": variant(RELU, GELU, gate=(tokens(0, 5), tokens(0, 1)), class_token=True),
    "token-class-linear": variant(RELU, RELU, gate=(tokens(1, 9), tokens(3, 4)), class_token=True),
    "channel-gelu-relu": variant(GELU, RELU, gate=(channels(0, 1, 2, 3), channels(3, 9, 15))),
    "channel-quad-identity": variant(QUAD, IDENTITY, gate=(channels(1, 5, 6), channels(1))),
    "channel-all": variant(RELU, RELU, gate=(channels(*range(16)), None)),
    "affine": variant(RELU, QUAD, norms=((AFFINE, AFFINE), (AFFINE, LAYER))),
    "batchnorm": variant(GELU, RELU, norms=((LAYER, BATCH), (BATCH, BATCH))),
    "repavit": variant(
        GELU, RELU, gate=(channels(0, 1, 2, 3), channels(0, 1, 2)), norms=((LAYER, BATCH),) * 2, class_token=True
    ),
    "token-post-relu": variant(GELU, IDENTITY, gate=(tokens(0, 4, 8), None), post_relu=(True, True), class_token=True),
    "repavit-two-norms": variant(
        GELU, QUAD, gate=(channels(0, 1, 2, 3), None), norms=((LAYER, BATCH),) * 2, hidden_norm=(True, True)
    ),
    "token-batchnorm-affine": variant(
        RELU, QUAD, gate=(tokens(4, 5), channels(0, 8)), norms=((LAYER, BATCH), (AFFINE, AFFINE))
    ),
}


@torch.no_grad()
def make_variant(config: ViTConfig, seed: int = 0) -> VisionTransformer:
    """A model whose norms without division have been fitted to what they read."""
    model = make_model(config, seed, gain=2.0)
    for name, parameter in model.named_parameters():
        if ".mixing." in name or ".convolution." in name:  # which begin as nothing
            parameter.add_(0.2 * torch.randn_like(parameter))
    fitted = [module for module in model.modules() if isinstance(module, (AffineNorm, BatchNorm, HiddenNorm))]
    hooks = [module.register_forward_pre_hook(_fit) for module in fitted]
    model(make_images(config, 64, seed=2))
    for hook in hooks:
        hook.remove()
    return model


def _fit(norm: AffineNorm | BatchNorm | HiddenNorm, inputs: tuple[torch.Tensor]) -> None:
    """Make ``norm`` about as large as a layer norm on ``inputs``."""
    free = inputs[0] if isinstance(norm, HiddenNorm) else inputs[0] - inputs[0].mean(-1, keepdim=True)
    if isinstance(norm, AffineNorm):
        norm.weight.div_(free.square().mean().sqrt())
    else:
        norm.running_mean.copy_(free.mean((0, 1)))
        norm.running_var.copy_(free.var((0, 1)))
