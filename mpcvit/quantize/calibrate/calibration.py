"""What all calibration methods have in common.

Axes: B pictures, R rows (tokens of all pictures), C channels, H heads, N queries, M keys, D head dim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.models.norm import TokenNorm
from mpcvit.models.vit import Attention
from mpcvit.quantize.config import Bits, Method
from mpcvit.quantize.places import QuantLinear
from mpcvit.quantize.reconstruct.learner import Learner
from mpcvit.quantize.reconstruct.learnt_rounding import LearntRounding


@dataclass(frozen=True)
class LinearSite:
    """A layer that is to be quantized.

    Attributes:
        layer: without quantizers yet, but for that of a weight that it shares with a layer that has been quantized.
        x: [R, C], what it reads on the calibration pictures.
        norm: whose output that is, if nothing else reads it and both may be rewritten; None if there is no such norm.
    """

    layer: QuantLinear
    x: torch.Tensor
    norm: TokenNorm | None
    bits: Bits


@dataclass(frozen=True)
class ProductSite:
    """An attention whose products' operands are to be quantized.

    Attributes:
        q, k, v: the operands on the calibration pictures, [B, H, N, D].
        weights: the attention weights [B, heads of the kind, N, M] of the kinds that have any, by kind.
        bits: width of codes.
    """

    attention: Attention
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    weights: dict[str, torch.Tensor]
    bits: int


class Calibration(ABC):
    """One method.

    Attributes:
        method: what configurations call it.
        learner: what reconstruction learns.
        sequential: whether a block is calibrated on what the quantized blocks before it give, not on what those of the
            model in real arithmetic give.
    """

    method: ClassVar[Method]
    learner: ClassVar[type[Learner]] = LearntRounding
    sequential: ClassVar[bool] = False

    @abstractmethod
    def linear(self, site: LinearSite) -> None:
        """Put quantizers into a layer; may rewrite it and its norm so that without quantizers nothing changes."""

    @abstractmethod
    def products(self, site: ProductSite) -> None:
        """Put quantizers into an attention."""
