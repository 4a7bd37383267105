"""The base of all quantizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn


class Quantizer(nn.Module, ABC):
    """Quantization of one tensor in real arithmetic: in go values, out come the values that their codes stand for.

    What calibration finds is kept in buffers, so that it is part of the state dict. Gradients pass the rounding
    unchanged (straight through).

    Args:
        bits: width of a code.

    Attributes:
        kind: what files call it.
        secure: what the secure path uses in its place, for people to read; None where it runs as it is.
    """

    kind: ClassVar[str]
    secure: ClassVar[str | None] = None

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor besides ``bits`` that files must keep, JSON-ready."""
        return {}

    @abstractmethod
    def fit(self, x: torch.Tensor) -> None:
        """Choose the parameters for values like ``x``."""

    @abstractmethod
    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Return integer codes (as floating point) of the shape of ``x``, from 0 or -2**(bits-1) on."""

    @abstractmethod
    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """Return what codes stand for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` rounded to what its codes stand for."""
        rounded = self.values(self.codes(x))
        return x + (rounded - x).detach() if x.requires_grad else rounded
