"""timm's plain Vision Transformers (``vit_*``, ``deit_*``) as ours: the same function, the weights copied."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError
from mpcvit.models.config import Activation, AttentionKind, ViTConfig
from mpcvit.models.vit import VisionTransformer

prepare_torchvision()

from timm import layers  # noqa: E402
from timm.models.vision_transformer import Block  # noqa: E402

#: What the message of every refusal says.
SUPPORTED = (
    "a plain vit_* or deit_*: square patches, a learned position embedding for every token, pre-norm blocks with "
    "softmax attention (q, k, v with bias), GELU or ReLU and LayerNorm, and one linear head on the class token or on "
    "the mean of the patches normalised after it is taken"
)

_NORMS = (nn.LayerNorm, layers.LayerNorm)
_NONE = (nn.Identity, type(None))
_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.GELU: Activation.GELU,
    layers.GELU: Activation.GELU,
    nn.ReLU: Activation.RELU,
}
_Kinds = tuple[type[Any], ...]
#: By path in the model, what may be there. A path that does not exist counts as None.
_MODEL: dict[str, _Kinds] = {
    "patch_embed": (layers.PatchEmbed,),
    "patch_embed.proj.bias": (nn.Parameter,),
    "patch_embed.norm": _NONE,
    "pos_embed": (nn.Parameter,),
    "reg_token": _NONE,
    "norm_pre": _NONE,
    "attn_pool": _NONE,
    "head": (nn.Linear,),
    "head.bias": (nn.Parameter,),
}
_BLOCK: dict[str, _Kinds] = {
    "norm1": _NORMS,
    "attn": (layers.Attention,),
    "attn.qkv.bias": (nn.Parameter,),
    "attn.q_norm": _NONE,
    "attn.k_norm": _NONE,
    "attn.norm": _NONE,
    "attn.gate": _NONE,
    "attn.proj.bias": (nn.Parameter,),
    "ls1": _NONE,
    "norm2": _NORMS,
    "mlp": (layers.Mlp,),
    "mlp.fc1.bias": (nn.Parameter,),
    "mlp.act": tuple(_ACTIVATIONS),
    "mlp.norm": _NONE,
    "mlp.fc2.bias": (nn.Parameter,),
    "ls2": _NONE,
}


def vit_from_timm(source: Any) -> VisionTransformer:
    """The model with the weights of ``source``, a timm ``VisionTransformer``, in eval mode and float32 or float64.

    Logits are equal but for rounding. The epsilon of ``source``'s layer norms goes into the configuration: timm's is
    1e-6, which a class token of small values notices. Under MPC it is inside a function of the sum of squares, which
    is known to 2 * ``Precision.frac`` fractional bits, so that its size does not matter there.

    Raises:
        ConfigError: a part of ``source`` has no counterpart; the message names it.
    """
    for path, kinds in _MODEL.items():
        _check(source, path, kinds)
    if not source.has_class_token:
        _check(source, "norm", _NONE)
    for number, block in enumerate(source.blocks):
        _check(source, f"blocks.{number}", (Block,))
        for path, kinds in _BLOCK.items():
            _check(block, path, kinds, f"blocks.{number}.")
    config = _config(source)
    model = VisionTransformer(config).to(source.head.weight.dtype)
    model.load_state_dict(_weights(source))
    return model.eval()


def _config(source: Any) -> ViTConfig:
    blocks, patches = list(source.blocks), source.patch_embed
    first = blocks[0]
    norms = {norm.eps for block in blocks for norm in (block.norm1, block.norm2)} | {_last_norm(source).eps}
    tokens = patches.num_patches + source.has_class_token
    problems = [
        ("global_pool", source.global_pool, "token" if source.has_class_token else "avg"),
        ("pos_embed", tuple(source.pos_embed.shape[:2]), (1, tokens)),
        ("dynamic_img_size", source.dynamic_img_size or patches.dynamic_img_pad, False),
        ("picture or patch", {len({*patches.img_size}), len({*patches.patch_size})}, {1}),
        ("size of blocks", len({(*block.mlp.fc1.weight.shape, block.attn.num_heads) for block in blocks}), 1),
        ("width of heads", first.attn.attn_dim, source.embed_dim),
        ("norm's epsilon", len(norms), 1),
        ("mlp.act.approximate", {getattr(block.mlp.act, "approximate", "none") for block in blocks}, {"none"}),
    ]
    for what, got, expected in problems:
        if got != expected:
            raise _refused(f"{what} is {got} instead of {expected}")
    return ViTConfig(
        image_size=patches.img_size[0],
        patch_size=patches.patch_size[0],
        classes=source.head.out_features,
        dim=source.embed_dim,
        hidden=first.mlp.fc1.out_features,
        heads=((AttentionKind.SOFTMAX,) * first.attn.num_heads,) * len(blocks),
        activations=tuple(_ACTIVATIONS[type(block.mlp.act)] for block in blocks),
        channels=source.in_chans,
        class_token=source.has_class_token,
        norm_epsilon=norms.pop(),
    )


def _weights(source: Any) -> dict[str, torch.Tensor]:
    """The state that the model loads. Names within blocks are the same in both."""
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
    """The one norm between blocks and head. On a class token it is the same before and after pooling."""
    before, after = source.norm, source.fc_norm
    norm: nn.LayerNorm = after if isinstance(before, nn.Identity) else before
    if type(norm) not in _NORMS or type(before) is type(after):
        raise _refused(f"norm is {_name(before)} and fc_norm is {_name(after)} instead of one LayerNorm")
    return norm


def _check(root: Any, path: str, kinds: _Kinds, prefix: str = "") -> None:
    try:
        found = attrgetter(path)(root)
    except AttributeError:
        found = None
    if type(found) not in kinds:
        wanted = "missing" if kinds is _NONE else " or ".join(sorted({kind.__name__ for kind in kinds}))
        raise _refused(f"{prefix}{path} is {_name(found)} instead of {wanted}")


def _name(module: object) -> str:
    return "missing" if module is None else type(module).__name__


def _refused(fact: str) -> ConfigError:
    return ConfigError(
        f"a timm model whose {fact}",
        expected=SUPPORTED,
        remedy="Choose another model of timm, or write this part as a layer of mpcvit.models.",
    )
