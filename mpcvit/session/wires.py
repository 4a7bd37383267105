"""The two forms that a secret value has in the fast engine, and what parties open (DESIGN 4.1).

*Shared*: additive shares, CrypTen's ``ArithmeticSharedTensor``. *Masked* ``(hat, mask)``: ``hat = x + mask`` is public
to both parties, the dealer knows the mask, the parties hold shares of it. All tensors are int64 with one leading batch
axis.

The dealer may know an *offset* of a Shared value: the parties' shares then add up to x + offset. A product leaves its
mask product there instead of sending shares of it, and the next opening absorbs it in its own mask for free.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpcvit.session.primitives import shared

__all__ = ["Bits", "Masked", "Opening", "Reopen", "Step", "Wire", "Words", "share_of", "shared", "tensor_of", "words"]

Words = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Masked:
    """A public masked value and this party's share of its mask. Hides its content from ``repr``."""

    hat: torch.Tensor
    mask: torch.Tensor

    def __repr__(self) -> str:
        return f"Masked(shape={tuple(self.hat.shape)}, mask=<hidden>)"


@dataclass(frozen=True, slots=True)
class Opening:
    """This party's share of something that is opened: ring words (added) or packed bits (XORed).

    Attributes:
        share: contiguous uint64 or, for bits, uint8 with eight bits each.
    """

    share: npt.NDArray[Any]

    def __repr__(self) -> str:
        return f"Opening(<{self.share.nbytes} bytes hidden>)"

    def combine(self, received: memoryview) -> npt.NDArray[Any]:
        """What is opened, from the other party's share."""
        other = np.frombuffer(received, dtype=self.share.dtype).reshape(self.share.shape)
        combined: npt.NDArray[Any] = self.share ^ other if self.share.dtype == np.uint8 else self.share + other
        return combined


@dataclass(frozen=True, slots=True)
class Reopen:
    """Says that an opening was ambiguous: the node needs a spare mask and opens again."""


Wire = Any  # Masked | ArithmeticSharedTensor; crypten has no types
#: One party's online step: yields what is to be opened, is sent what was opened, returns the wire.
Step = Generator[Opening | Reopen, Any, Wire]


def share_of(wire: Wire, party: int) -> torch.Tensor:
    """This party's additive share of a wire of either form."""
    if isinstance(wire, Masked):
        return wire.hat - wire.mask if party == 0 else -wire.mask
    share: torch.Tensor = wire.share
    return share


def words(tensor: torch.Tensor) -> Words:
    """The tensor's elements as a flat contiguous uint64 array; a view where it can be."""
    return tensor.contiguous().numpy().view(np.uint64).reshape(-1)


def tensor_of(array: Words, shape: tuple[int, ...]) -> torch.Tensor:
    """A flat uint64 array as an int64 tensor of ``shape``, sharing memory."""
    return torch.from_numpy(array.view(np.int64)).reshape(shape)
