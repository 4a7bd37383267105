"""Removal of heads and MLP channels: the smaller configuration, and the weights that are left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch

from mpcvit.compress.fitting.calibration import Moments
from mpcvit.compress.fitting.least_squares import restricted, ridged
from mpcvit.compress.rebuild import rebuilt
from mpcvit.models.block import BlockConfig, Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis
from mpcvit.models.vit import Block, VisionTransformer


@dataclass(frozen=True)
class Kept:
    """What is left of each block.

    Attributes:
        heads, channels: per block, the numbers of those that stay, ascending, at least one each.
    """

    heads: tuple[tuple[int, ...], ...]
    channels: tuple[tuple[int, ...], ...]

    @classmethod
    def everything(cls, config: ViTConfig) -> Kept:
        """Return all of them."""
        return cls(
            tuple(tuple(range(len(block.heads))) for block in config.blocks),
            tuple(tuple(range(block.hidden)) for block in config.blocks),
        )

    def with_heads(self, block: int, heads: tuple[int, ...]) -> Kept:
        """Return this, but for a block's heads."""
        return replace(self, heads=(*self.heads[:block], heads, *self.heads[block + 1 :]))

    def with_channels(self, block: int, channels: tuple[int, ...]) -> Kept:
        """Return this, but for a block's channels."""
        return replace(self, channels=(*self.channels[:block], channels, *self.channels[block + 1 :]))


@dataclass(frozen=True)
class Given:
    """What the units of a block give on calibration data: moments over tokens of what proj and fc2 read.

    Attributes:
        heads: of [width of all heads] numbers.
        channels: of [hidden] numbers.
    """

    heads: Moments
    channels: Moments


def pruned_config(config: ViTConfig, kept: Kept) -> ViTConfig:
    """Return ``config`` with what is kept of every block. Heads keep their width."""
    parts = zip(config.blocks, kept.heads, kept.channels, strict=True)
    blocks = tuple(_pruned_block(block, heads, channels) for block, heads, channels in parts)
    return replace(
        config,
        head_width=config.head_dim,
        blocks=blocks,
        lepe=config.filters_per_head * max(len(block.heads) for block in blocks),
    )


def _pruned_block(block: BlockConfig, heads: tuple[int, ...], channels: tuple[int, ...]) -> BlockConfig:
    gate = _gate(block.gate, channels)
    return replace(
        block,
        heads=tuple(block.heads[number] for number in heads),
        hidden=len(channels),
        gate=gate,
        # where only idle channels are left, so is no activation
        activation=Activation.IDENTITY if block.gate is not None and gate is None else block.activation,
    )


def _gate(gate: Gate | None, channels: tuple[int, ...]) -> Gate | None:
    """Return a block's gate with channels renumbered; None if it keeps none of them."""
    if gate is None or gate.axis is GateAxis.TOKEN:
        return gate
    left = tuple(number for number, channel in enumerate(channels) if channel in set(gate.kept))
    return Gate(axis=GateAxis.CHANNEL, kept=left) if left else None


@torch.no_grad()
def pruned(model: VisionTransformer, kept: Kept, given: list[Given] | None = None) -> VisionTransformer:
    """Return ``model`` with what is kept of every block, in eval mode.

    Args:
        model: has ordinary layers and no shared weights.
        given: per block, on calibration data; what goes is then replaced by its best linear estimate from what stays,
            which goes into the weights and biases that read it. None for nothing in its place.
    """
    result = rebuilt(model, pruned_config(model.config, kept))
    state = result.state_dict()
    for number, block in enumerate(model.blocks):
        parts = _block_state(cast(Block, block), kept.heads[number], kept.channels[number])
        if given is not None:
            _estimate(parts, cast(Block, block), kept.heads[number], kept.channels[number], given[number])
        named = {f"blocks.{number}.{name}": value for name, value in parts.items()}
        state |= {name: value for name, value in named.items() if name in state}
    result.load_state_dict(state)
    return result


def _block_state(block: Block, heads: tuple[int, ...], channels: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Return a block's parameters without those of what goes."""
    attention, state = block.attn, dict(block.state_dict())
    width, count = attention.head_dim, len(attention.kinds)
    columns = _columns(heads, width)
    rows = torch.cat([part * count * width + columns for part in range(3)])
    for leaf in ("weight", "bias"):
        state[f"attn.qkv.{leaf}"] = state[f"attn.qkv.{leaf}"][rows]
        state[f"mlp.fc1.{leaf}"] = state[f"mlp.fc1.{leaf}"][list(channels)]
    state["attn.proj.weight"] = state["attn.proj.weight"][:, columns]
    state["mlp.fc2.weight"] = state["mlp.fc2.weight"][:, list(channels)]
    if attention.lepe is not None:
        filters = len(attention.lepe.weight) // count
        state["attn.lepe.weight"] = state["attn.lepe.weight"][_columns(heads, filters)]
    if attention.mask is not None:
        for leaf in ("alpha", "sigma"):
            state[f"attn.mask.{leaf}"] = state[f"attn.mask.{leaf}"][list(heads)]
    return _kernel_state(state, attention.kinds, heads)


def _kernel_state(
    state: dict[str, torch.Tensor], kinds: tuple[str, ...], heads: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    """Return ``state`` with what kernels learn cut to the heads that stay: rows per head, or something that a kind
    shares.
    """
    result = {}
    for name, value in state.items():
        if name.startswith("attn.kernels."):
            kind = name.split(".")[2]
            members = [head for head, other in enumerate(kinds) if other == kind]
            left = [place for place, head in enumerate(members) if head in heads]
            if not left:
                continue
            value = value[left] if value.shape == (len(members),) and AttentionKind(kind).facts.per_head else value
        result[name] = value
    return result


def _estimate(
    parts: dict[str, torch.Tensor], block: Block, heads: tuple[int, ...], channels: tuple[int, ...], given: Given
) -> None:
    """Fit the layers that read what stays to what they wrote."""
    columns = _columns(heads, block.attn.head_dim)
    for name, moments, stays in (
        ("attn.proj", given.heads, columns),
        ("mlp.fc2", given.channels, torch.tensor(channels)),
    ):
        if len(stays) == len(moments.mean):
            continue
        left = torch.zeros(len(moments.mean), dtype=torch.bool)
        left[stays] = True
        weight, bias = block.get_parameter(f"{name}.weight").double().T, parts[f"{name}.bias"]
        fitted = restricted(weight, left, ridged(moments.covariance))
        parts[f"{name}.weight"] = fitted.T.to(bias)
        parts[f"{name}.bias"] = bias + (moments.mean @ weight - moments.mean[left] @ fitted).to(bias)


def _columns(heads: tuple[int, ...], width: int) -> torch.Tensor:
    """Return the places that ``width`` numbers per head have."""
    return torch.tensor([head * width + place for head in heads for place in range(width)])
