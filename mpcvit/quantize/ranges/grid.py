"""Evenly spaced values and their integer codes: the arithmetic of uniform quantization."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CodeGrid:
    """The values scale * (code - zero) for whole codes from ``lowest`` to ``highest``.

    Attributes:
        scale: distance of neighbouring values, positive; broadcasts against what is quantized.
        zero: the code of 0, whole, of the shape of ``scale``; outside the codes' range where 0 is no value.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    lowest: int
    highest: int

    @classmethod
    def covering(cls, low: torch.Tensor, high: torch.Tensor, bits: int, *, symmetric: bool) -> CodeGrid:
        """Return the grid on the range from ``low`` to ``high``.

        Symmetric: signed codes, zero point 0, from -m to m with m the larger of |low| and |high|. Otherwise unsigned
        codes and a zero point that is rounded, because an integer kernel has no other.
        """
        lowest, highest = code_range(bits, symmetric=symmetric)
        largest = torch.maximum(low.abs(), high.abs())
        scale = largest / highest if symmetric else (high - low) / (highest - lowest)
        # where all values are equal, a grid that holds this value
        fallback = torch.where(largest > 0, largest, torch.ones_like(largest))
        scale = torch.where(scale > 0, scale, fallback)
        return cls(scale, torch.zeros_like(scale) if symmetric else -torch.round(low / scale), lowest, highest)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the code of the value nearest to every ``x``; ties go to the even multiple of the scale."""
        return (torch.round(x / self.scale) + self.zero).clamp(self.lowest, self.highest)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """Return what codes stand for."""
        return (codes - self.zero) * self.scale

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Return the value nearest to every ``x``."""
        return self.values(self.codes(x))


def code_range(bits: int, *, symmetric: bool) -> tuple[int, int]:
    """Return the smallest and the largest code of a width: signed for symmetric grids, else unsigned."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
