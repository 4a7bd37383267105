"""Weights that several blocks have in common (MiniViT, CVPR 2022).

A group of neighbouring blocks has one set of matrices, the first block's. Each block keeps what makes it different:
all biases, those of norms included, and the convolution of V (``ViTConfig.lepe``). Where a model has that, it plays the
part of MiniViT's transformation per layer; other models, DeiT for instance, have none. Gains of norms belong to the
matrices behind them, into which export folds them, so the group has those in common, too; then a group's folded
matrices are one secret parameter, shared and opened once.

MiniViT's other transformation, learnt mixtures of heads before and after the softmax, is not built: under MPC it is two
products of secrets per score, about the price of a cheap attention kind, and it would take the linear-time form from
scaling heads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

#: A block's parameters that belong to its group.
_SHARED = re.compile(r"(attn\.(qkv|proj)|mlp\.(fc1|fc2))\.((down|up)\.)?weight|norm[12]\.weight|mlp\.act\.coefficients")


def share_weights(model: nn.Module, blocks: nn.ModuleList, owners: Sequence[int]) -> None:
    """Make the ``blocks`` of ``model`` use the parameters of the blocks that ``owners`` names, block by block.

    A shared parameter is one object under several names. Optimisers see it once, and so do files: the state dict has it
    under its owner's name alone, and loading accepts that.
    """
    names: dict[str, str] = {}
    for number, owner in enumerate(owners):
        if number == owner:
            continue
        for name, parameter in blocks[owner].named_parameters():
            if _SHARED.fullmatch(name):
                module, _, leaf = name.rpartition(".")
                setattr(blocks[number].get_submodule(module), leaf, parameter)
                names[f"blocks.{number}.{name}"] = f"blocks.{owner}.{name}"
    if not names:
        return
    model.register_state_dict_post_hook(partial(_leave_out, names))
    model.register_load_state_dict_pre_hook(partial(_fill_in, names))


def _leave_out(owners: dict[str, str], module: Any, state: dict[str, torch.Tensor], prefix: str, _: Any) -> None:
    """Drop all names of a shared parameter but its owner's."""
    for name in owners:
        del state[prefix + name]


def _fill_in(owners: dict[str, str], module: Any, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    """Give a shared parameter all its names back, where its owner's is there."""
    for name, owner in owners.items():
        if prefix + owner in state:
            state[prefix + name] = state[prefix + owner]
