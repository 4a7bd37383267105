"""timm's plain Vision Transformers (``vit_*``, ``deit_*``) as ours: the same function, the weights copied."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.models.block import BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.timm_parts import MISSING, Kinds, Parts, part_name
from mpcvit.models.vit import VisionTransformer

prepare_torchvision()

from timm import layers  # noqa: E402
from timm.models.vision_transformer import Block  # noqa: E402

_SUPPORTED = (
    "a plain vit_* or deit_*: square patches, a learned position embedding for every token, pre-norm blocks with "
    "softmax attention (q, k, v with bias), GELU or ReLU and LayerNorm, and one linear head on the class token or on "
    "the mean of the patches normalised after it is taken"
)
_NORMS: Kinds = (nn.LayerNorm, layers.LayerNorm)
_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.GELU: Activation.GELU,
    layers.GELU: Activation.GELU,
    nn.ReLU: Activation.RELU,
}
_MODEL = Parts(
    _SUPPORTED,
    {
        "patch_embed": (layers.PatchEmbed,),
        "patch_embed.proj.bias": (nn.Parameter,),
        "patch_embed.norm": MISSING,
        "pos_embed": (nn.Parameter,),
        "reg_token": MISSING,
        "norm_pre": MISSING,
        "attn_pool": MISSING,
        "head": (nn.Linear,),
        "head.bias": (nn.Parameter,),
    },
)
_BLOCK = Parts(
    _SUPPORTED,
    {
        "norm1": _NORMS,
        "attn": (layers.Attention,),
        "attn.qkv.bias": (nn.Parameter,),
        "attn.q_norm": MISSING,
        "attn.k_norm": MISSING,
        "attn.norm": MISSING,
        "attn.gate": MISSING,
        "attn.proj.bias": (nn.Parameter,),
        "ls1": MISSING,
        "norm2": _NORMS,
        "mlp": (layers.Mlp,),
        "mlp.fc1.bias": (nn.Parameter,),
        "mlp.act": tuple(_ACTIVATIONS),
        "mlp.norm": MISSING,
        "mlp.fc2.bias": (nn.Parameter,),
        "ls2": MISSING,
    },
)


def vit_from_timm(source: Any) -> VisionTransformer:
    """Return the model with the weights of ``source``, a timm ``VisionTransformer``, in eval mode and float32 or
    float64.

    Logits are equal but for rounding. The epsilon of ``source``'s layer norms goes into the configuration: timm's is
    1e-6, which a class token of small values notices. Under MPC it is inside a function of the sum of squares, which
    is known to 2 * ``Precision.frac`` fractional bits, so that its size does not matter there.

    Raises:
        ConfigError: a part of ``source`` has no counterpart; the message names it.
    """
    _MODEL.check(source)
    if not source.has_class_token:
        Parts(_SUPPORTED, {"norm": MISSING}).check(source)
    for number, block in enumerate(source.blocks):
        Parts(_SUPPORTED, {str(number): (Block,)}).check(source.blocks, "blocks.")
        _BLOCK.check(block, f"blocks.{number}.")
    config = _config(source)
    model = VisionTransformer(config).to(source.head.weight.dtype)
    model.load_state_dict(_weights(source))
    return model.eval()


def _config(source: Any) -> ViTConfig:
    blocks, patches = list(source.blocks), source.patch_embed
    first = blocks[0]
    norms = {norm.eps for block in blocks for norm in (block.norm1, block.norm2)} | {_last_norm(source).eps}
    tokens = patches.num_patches + source.has_class_token
    _MODEL.check_values(
        [
            ("global_pool", source.global_pool, "token" if source.has_class_token else "avg"),
            ("pos_embed", tuple(source.pos_embed.shape[:2]), (1, tokens)),
            ("dynamic_img_size", source.dynamic_img_size or patches.dynamic_img_pad, False),
            ("picture or patch", {len({*patches.img_size}), len({*patches.patch_size})}, {1}),
            ("size of blocks", len({(*block.mlp.fc1.weight.shape, block.attn.num_heads) for block in blocks}), 1),
            ("width of heads", first.attn.attn_dim, source.embed_dim),
            ("norm's epsilon", len(norms), 1),
            ("mlp.act.approximate", {getattr(block.mlp.act, "approximate", "none") for block in blocks}, {"none"}),
        ]
    )
    return ViTConfig(
        image_size=patches.img_size[0],
        patch_size=patches.patch_size[0],
        classes=source.head.out_features,
        dim=source.embed_dim,
        blocks=tuple(
            BlockConfig(
                heads=(AttentionKind.SOFTMAX,) * block.attn.num_heads,
                activation=_ACTIVATIONS[type(block.mlp.act)],
                hidden=block.mlp.fc1.out_features,
            )
            for block in blocks
        ),
        channels=source.in_chans,
        class_token=source.has_class_token,
        norm_epsilon=norms.pop(),
    )


def _weights(source: Any) -> dict[str, torch.Tensor]:
    """Return the state that the model loads. Names within blocks are the same in both."""
    named = {name: tensor for name, tensor in source.state_dict().items() if name.startswith("blocks.")}
    proj, norm = source.patch_embed.proj, _last_norm(source)
    named |= {
        "patch_embed.weight": proj.weight.flatten(1),  # channels, rows, columns: the order of our patches
        "patch_embed.bias": proj.bias,
        "pos_embed": source.pos_embed[0],
        "norm.weight": norm.weight,
        "norm.bias": norm.bias,
        "head.weight": source.head.weight,
        "head.bias": source.head.bias,
    }
    if source.has_class_token:
        named["cls_token"] = source.cls_token[0]
    return named


def _last_norm(source: Any) -> nn.LayerNorm:
    """Return the one norm between blocks and head. On a class token it is the same before and after pooling."""
    before, after = source.norm, source.fc_norm
    norm: nn.LayerNorm = after if isinstance(before, nn.Identity) else before
    if type(norm) not in _NORMS or type(before) is type(after):
        raise _MODEL.refused(f"norm is {part_name(before)} and fc_norm is {part_name(after)}, not one LayerNorm")
    return norm
