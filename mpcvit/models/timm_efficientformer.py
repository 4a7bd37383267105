"""timm's EfficientFormers (``efficientformer_l1``, ``_l3``, ``_l7``) as ours: the same function, the weights copied."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.models.efficientformer import BORDER, STRIDE, WINDOW, EfficientFormer, EfficientFormerConfig
from mpcvit.models.kinds import Activation
from mpcvit.models.timm_parts import MISSING, Kinds, Parts

prepare_torchvision()

from timm import layers  # noqa: E402
from timm.models import efficientformer as timm_efficientformer  # noqa: E402

_SUPPORTED = (
    "an EfficientFormer of timm's: convolutions with batch norm, blocks with pooling, GELU or ReLU, at least one block "
    "with attention at the end, two linear heads on the mean token"
)
_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.GELU: Activation.GELU,
    layers.GELU: Activation.GELU,
    nn.ReLU: Activation.RELU,
}
_BATCH: Kinds = (nn.BatchNorm2d,)
_LAYER: Kinds = (nn.LayerNorm, layers.LayerNorm)
_MODEL = Parts(
    _SUPPORTED,
    {
        "stem.norm1": _BATCH,
        "stem.act1": (nn.ReLU,),
        "stem.norm2": _BATCH,
        "stem.act2": (nn.ReLU,),
        "norm": _LAYER,
        "head": (nn.Linear,),
        "head_dist": (nn.Linear,),
    },
)
_DOWNSAMPLE = Parts(_SUPPORTED, {"downsample": (timm_efficientformer.Downsample,), "downsample.norm": _BATCH})
_NO_DOWNSAMPLE = Parts(_SUPPORTED, {"downsample": MISSING})
_POOL_BLOCK = Parts(
    _SUPPORTED,
    {
        "token_mixer": (timm_efficientformer.Pooling,),
        "ls1": (layers.LayerScale2d,),
        "mlp": (timm_efficientformer.ConvMlpWithNorm,),
        "mlp.norm1": _BATCH,
        "mlp.act": tuple(_ACTIVATIONS),
        "mlp.norm2": _BATCH,
        "ls2": (layers.LayerScale2d,),
    },
)
_ATTENTION_BLOCK = Parts(
    _SUPPORTED,
    {
        "norm1": _LAYER,
        "token_mixer": (timm_efficientformer.Attention,),
        "ls1": (layers.LayerScale,),
        "norm2": _LAYER,
        "mlp": (layers.Mlp,),
        "mlp.act": tuple(_ACTIVATIONS),
        "mlp.norm": MISSING,
        "ls2": (layers.LayerScale,),
    },
)


def efficientformer_from_timm(source: Any, image_size: int) -> EfficientFormer:
    """Return the model with the weights of ``source``, a timm ``EfficientFormer``, in eval mode.

    The two heads, whose mean timm gives, become one. Attention of timm's is for a grid of 7 x 7; a smaller one, of
    smaller pictures, uses the biases of the distances that it has.

    Args:
        image_size: side of the pictures, pixels; for timm's own attention one that ends in 7 x 7, such as 224.

    Raises:
        ConfigError: a part of ``source`` has no counterpart, or pictures of that size need biases that it has not.
    """
    _MODEL.check(source)
    for number, stage in enumerate(source.stages):
        (_DOWNSAMPLE if number else _NO_DOWNSAMPLE).check(stage, f"stages.{number}.")
    pooling, attention = _blocks(source)
    config = _config(source, image_size, [len(blocks) for blocks in pooling], attention)
    model = EfficientFormer(config).to(source.head.weight.dtype)
    state = _stem(source)
    for number, blocks in enumerate(pooling):
        if number:
            state |= _conv(f"stages.{number}.downsample", source.stages[number].downsample)
        for place, block in enumerate(blocks):
            state |= _pool_block(f"stages.{number}.pool_blocks.{place}", block)
    for place, block in enumerate(attention):
        state |= _attention_block(f"stages.{len(pooling) - 1}.attention_blocks.{place}", block, config)
    model.load_state_dict(state)
    return model.eval()


def _blocks(source: Any) -> tuple[list[list[Any]], list[Any]]:
    """Return the blocks with pooling by stage, and those with attention, checked."""
    pooling: list[list[Any]] = [[] for _ in source.stages]
    attention = []
    for number, stage in enumerate(source.stages):
        for place, block in enumerate(stage.blocks):
            prefix = f"stages.{number}.blocks.{place}."
            if isinstance(block, timm_efficientformer.MetaBlock2d):
                _POOL_BLOCK.check(block, prefix)
                pooling[number].append(block)
            elif isinstance(block, timm_efficientformer.MetaBlock1d):
                _ATTENTION_BLOCK.check(block, prefix)
                attention.append(block)
    if not attention:
        raise _MODEL.refused("last stage has no block with attention")
    return pooling, attention


def _config(source: Any, image_size: int, pooling: list[int], attention: list[Any]) -> EfficientFormerConfig:
    depths = [*pooling[:-1], pooling[-1] + len(attention)]
    blocks = [block for stage in source.stages for block in stage.blocks if hasattr(block, "mlp")]
    batch_norms = [module for module in source.modules() if isinstance(module, nn.BatchNorm2d)]
    mixer, first = attention[0].token_mixer, source.stem.conv1
    pools = {block.token_mixer.pool.kernel_size for block in blocks if block not in attention}
    norms = {norm.eps for block in attention for norm in (block.norm1, block.norm2)} | {source.norm.eps}
    strided = [first, source.stem.conv2, *(stage.downsample.conv for stage in list(source.stages)[1:])]
    shapes = {(conv.kernel_size, conv.stride, conv.padding) for conv in strided}
    _MODEL.check_values(
        [
            ("global_pool", source.global_pool, "avg"),
            ("stride and border", shapes, {((WINDOW,) * 2, (STRIDE,) * 2, (BORDER,) * 2)}),
            ("batch norm's epsilon", {norm.eps for norm in batch_norms}, {nn.BatchNorm2d(1).eps}),
            ("layer norm's epsilon", len(norms), 1),
            ("number of activations", len({type(block.mlp.act) for block in blocks}), 1),
            ("mlp.act.approximate", {getattr(block.mlp.act, "approximate", "none") for block in blocks}, {"none"}),
            ("pool_size", len(pools) <= 1, True),
        ]
    )
    config = EfficientFormerConfig(
        image_size=image_size,
        classes=source.head.out_features,
        depths=tuple(depths),
        widths=tuple(stage.blocks[-1].mlp.fc2.weight.shape[0] for stage in source.stages),
        hidden=tuple(stage.blocks[-1].mlp.fc1.weight.shape[0] for stage in source.stages),
        attention_blocks=len(attention),
        channels=source.in_chans,
        heads=mixer.num_heads,
        key_dim=mixer.key_dim,
        value_dim=mixer.val_dim,
        pool_side=pools.pop() if pools else 3,
        activation=_ACTIVATIONS[type(blocks[0].mlp.act)],
        norm_epsilon=norms.pop(),
    )
    known = _side(mixer)
    if config.side > known:
        raise _MODEL.refused(f"attention has biases for {known} x {known} tokens, {image_size} pixels give more")
    return config


def _side(mixer: Any) -> int:
    """Return the rows of the grid that a mixer's biases are for."""
    return math.isqrt(int(mixer.attention_biases.shape[1]))


def _stem(source: Any) -> dict[str, torch.Tensor]:
    """Return stem, norm and head."""
    state: dict[str, torch.Tensor] = {}
    for number in (1, 2):
        state |= _named(f"stem{number}.conv", getattr(source.stem, f"conv{number}"))
        state |= _named(f"stem{number}.norm", getattr(source.stem, f"norm{number}"))
    state |= _named("norm", source.norm)
    state["head.weight"] = (source.head.weight + source.head_dist.weight) / 2
    state["head.bias"] = (source.head.bias + source.head_dist.bias) / 2
    return state


def _pool_block(name: str, block: Any) -> dict[str, torch.Tensor]:
    state = {f"{name}.scale1": block.ls1.gamma, f"{name}.scale2": block.ls2.gamma}
    for number in (1, 2):
        state |= _named(f"{name}.fc{number}.conv", getattr(block.mlp, f"fc{number}"))
        state |= _named(f"{name}.fc{number}.norm", getattr(block.mlp, f"norm{number}"))
    return state


def _attention_block(name: str, block: Any, config: EfficientFormerConfig) -> dict[str, torch.Tensor]:
    mixer = block.token_mixer
    state = {f"{name}.scale1": block.ls1.gamma, f"{name}.scale2": block.ls2.gamma}
    for own, module in (("norm1", block.norm1), ("norm2", block.norm2), ("attn.proj", mixer.proj)):
        state |= _named(f"{name}.{own}", module)
    state |= _named(f"{name}.fc1", block.mlp.fc1) | _named(f"{name}.fc2", block.mlp.fc2)
    # timm's rows are one head after the other, ours all queries, then all keys, then all values
    widths = (config.key_dim, config.key_dim, config.value_dim)
    for kind, tensor in _named(f"{name}.attn.qkv", mixer.qkv).items():
        by_head = tensor.unflatten(0, (config.heads, -1)).split(widths, dim=1)
        state[kind] = torch.cat([part.flatten(0, 1) for part in by_head])
    side = _side(mixer)
    table = mixer.attention_biases.unflatten(1, (side, side))
    state[f"{name}.attn.biases"] = table[:, : config.side, : config.side].flatten(1)
    return state


def _conv(name: str, module: Any) -> dict[str, torch.Tensor]:
    """Return a convolution and its norm, which are called so in both."""
    return _named(f"{name}.conv", module.conv) | _named(f"{name}.norm", module.norm)


def _named(name: str, module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of ``module`` with ``name`` before its names."""
    return {f"{name}.{own}": tensor for own, tensor in module.state_dict().items()}
