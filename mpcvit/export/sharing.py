"""Blocks that share weights, after folding: one tensor, and so one secret parameter, per matrix of the group."""

from __future__ import annotations

from dataclasses import replace

import torch

from mpcvit.errors import ConfigError
from mpcvit.export.affine import Affine
from mpcvit.export.fold_mlp import ActivatedLayers, FoldedMlp
from mpcvit.export.folded import FoldedBlock


def shared_weights(block: FoldedBlock, owner: FoldedBlock, who: str) -> FoldedBlock:
    """Return ``block`` with the matrices of ``owner``, to which its own are equal; biases stay.

    Args:
        who: names both in messages.

    Raises:
        ConfigError: a matrix differs.
    """
    return replace(
        block,
        qkv=_layer(block.qkv, owner.qkv, who),
        proj=_layer(block.proj, owner.proj, who),
        mlp=_mlp(block.mlp, owner.mlp, who),
    )


def _mlp(mlp: FoldedMlp, owner: FoldedMlp, who: str) -> FoldedMlp:
    activated, fused = mlp.activated, mlp.fused
    if activated is not None and owner.activated is not None:
        activated = ActivatedLayers(
            _layer(activated.fc1, owner.activated.fc1, who),
            activated.activation,
            _layer(activated.fc2, owner.activated.fc2, who),
            _matrix(activated.skip, owner.activated.skip, who),
        )
    if fused is not None and owner.fused is not None:
        fused = _layer(fused, owner.fused, who)
    return replace(mlp, activated=activated, fused=fused)


def _layer(layer: Affine, owner: Affine, who: str) -> Affine:
    weight = _matrix(layer.weight, owner.weight, who)
    assert weight is not None  # noqa: S101 - a layer has a matrix
    return Affine(weight, layer.bias, _matrix(layer.first, owner.first, who))


def _matrix(own: torch.Tensor | None, owners: torch.Tensor | None, who: str) -> torch.Tensor | None:
    if own is None or owners is None:
        return own
    if not torch.equal(own, owners):
        raise ConfigError(
            f"{who} that share weights, but fold into different matrices",
            expected="equal gains of norms and equal factors of queries",
            remedy="Train and load such models with mpcvit, which keeps what they share in one place.",
        )
    return owners
