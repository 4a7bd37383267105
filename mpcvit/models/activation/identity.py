"""No activation."""

from __future__ import annotations

from torch import nn


class Identity(nn.Identity):
    """x: the MLP is one linear layer of rank ``hidden`` at most (MPCViT+'s linear fusion)."""
