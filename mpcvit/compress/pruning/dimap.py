"""Importance from weights alone, compared within modules: an approximate re-implementation of DIMAP.

DIMAP (Data-independent Module-Aware Pruning) scores what is pruned by the information that its module loses, and
compares scores within modules only. Neither code nor formula was published; this is our reading. A module is a block's
attention or its MLP, its information the energy of the linear map that its weights make: for an MLP the paths fc1[c]
-> fc2[c] of all channels, for an attention the paths values -> projection of all heads. A unit's importance is the
share of the module's energy that goes with it, so that modules are comparable whatever the scale of their weights.

No picture is looked at, though ``compress`` asks for some whatever the pass.
"""

from __future__ import annotations

from typing import cast

import torch

from mpcvit.compress.fitting.layers import matrix
from mpcvit.compress.pruning.importance import Importance
from mpcvit.models.vit import Attention, Block, Mlp, VisionTransformer


def data_free_importance(model: VisionTransformer) -> Importance:
    """Return the share of its module's energy that every head and channel has."""
    blocks = [cast(Block, block) for block in model.blocks]
    return Importance(
        [_shares(_head_energies(block.attn, block.norm1.gain_and_bias()[0])) for block in blocks],
        [_shares(_channel_energies(block.mlp, block.norm2.gain_and_bias()[0])) for block in blocks],
    )


def _head_energies(attention: Attention, gain: torch.Tensor) -> torch.Tensor:
    """Return [heads]: squared Frobenius norms of the maps from what a head reads to what it writes, through V."""
    heads, inner = len(attention.kinds), attention.proj.in_features
    values = (gain[:, None] * matrix(attention.qkv))[:, 2 * inner :].reshape(len(gain), heads, -1)
    written = _mean_free(matrix(attention.proj)).reshape(heads, -1, len(gain))
    return torch.stack([(values[:, head] @ written[head]).square().sum() for head in range(heads)])


def _channel_energies(mlp: Mlp, gain: torch.Tensor) -> torch.Tensor:
    """Return [hidden]: squared Frobenius norms of the maps through each channel, which are of rank 1."""
    read, written = gain[:, None] * matrix(mlp.fc1), _mean_free(matrix(mlp.fc2))
    return read.square().sum(0) * written.square().sum(1)


def _mean_free(matrix_IO: torch.Tensor) -> torch.Tensor:
    """Remove what it adds to the mean of the stream, which nobody reads."""
    return matrix_IO - matrix_IO.mean(1, keepdim=True)


def _shares(energies: torch.Tensor) -> torch.Tensor:
    return energies / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
