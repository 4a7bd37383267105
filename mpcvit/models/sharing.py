"""Weights that several blocks have in common (MiniViT, CVPR 2022).

A group of neighbouring blocks has one set of matrices, the first block's: one secret parameter, shared and opened
once. Each block keeps what makes it different: all biases, those of norms included, the convolution of V
(``ViTConfig.lepe``), and MiniViT's transformations where the configuration has them
(:mod:`mpcvit.models.transformations`).

With transformations, the gains of norms are the block's own, as in the source. Under MPC a gain is then a product of
each token with a secret vector. Without them, gains belong to the matrices behind them, into which export folds them,
so the group has those in common, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

#: A block's parameters that belong to its group.
_SHARED = re.compile(r"(attn\.(qkv|proj)|mlp\.(fc1|fc2))\.((down|up)\.)?weight|mlp\.act\.coefficients")
#: What else does where it has no transformations.
_GAINS = re.compile(r"norm[12]\.weight")


def share_weights(model: nn.Module, blocks: nn.ModuleList, owners: Sequence[int], apart: Sequence[bool]) -> None:
    """Make the ``blocks`` of ``model`` use the parameters of the blocks that ``owners`` names, block by block.

    A shared parameter is one object under several names. Optimisers see it once, and so do files: the state dict has it
    under its owner's name alone, and loading accepts that.

    Args:
        apart: per block, whether it has gains of its own.
    """
    names: dict[str, str] = {}
    for number, owner in enumerate(owners):
        if number == owner:
            continue
        for name, parameter in blocks[owner].named_parameters():
            if _SHARED.fullmatch(name) or (not apart[number] and _GAINS.fullmatch(name)):
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
