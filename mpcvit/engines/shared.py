"""Additive shares, as both engines hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


class ArithmeticTensor(Protocol):
    """What is used here of CrypTen's ``ArithmeticSharedTensor``."""

    @property
    def share(self) -> torch.Tensor:
        """This party's share."""

    def __add__(self, other: ArithmeticTensor | int) -> ArithmeticTensor: ...

    def __sub__(self, other: ArithmeticTensor | int) -> ArithmeticTensor: ...


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """A secret of which every party holds a share; all shares add up to it mod 2**64. Hides its content from ``repr``.

    Sums and differences, with another or with a public integer, are local.

    Attributes:
        tensor: CrypTen's, with precision 0, that is plain int64 codes: the Program, not CrypTen, knows the fixed point.
    """

    tensor: ArithmeticTensor

    @property
    def share(self) -> torch.Tensor:
        """This party's share, int64."""
        return self.tensor.share

    def __add__(self, other: Shared | int) -> Shared:
        return Shared(self.tensor + (other.tensor if isinstance(other, Shared) else other))

    def __sub__(self, other: Shared | int) -> Shared:
        return Shared(self.tensor - (other.tensor if isinstance(other, Shared) else other))

    def __repr__(self) -> str:
        return f"Shared(shape={tuple(self.share.shape)}, share=<hidden>)"


def shared(share: torch.Tensor) -> Shared:
    """Return the secret of which this party holds ``share``, int64."""
    # Plans and prices need this module where crypten is not installed.
    from mpcvit.engines.crypten.context import ArithmeticSharedTensor

    return Shared(ArithmeticSharedTensor.from_shares(share, precision=0))
