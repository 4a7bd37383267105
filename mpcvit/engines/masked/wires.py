"""The two forms that a secret value has in the fast engine, and what parties open (docs/protocols.md, Wires).

*Shared*: additive shares, :class:`mpcvit.engines.shared.Shared`. *Masked* ``(hat, mask)``: ``hat = x + mask`` is public
to both parties, the dealer knows the mask, the parties hold shares of it. All tensors are int64 with one leading batch
axis.

The dealer may know an *offset* of a Shared value: the parties' shares then add up to x + offset. A product leaves its
mask product there instead of sending shares of it, and the next opening absorbs it in its own mask for free.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from mpcvit.engines.shared import Shared
from mpcvit.errors import MpcvitError
from mpcvit.fss.checks import Words

BitArray = npt.NDArray[np.uint8]


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
        """Return what is opened, from the other party's share."""
        other = np.frombuffer(received, dtype=self.share.dtype).reshape(self.share.shape)
        combined: npt.NDArray[Any] = self.share ^ other if self.share.dtype == np.uint8 else self.share + other
        return combined


class AmbiguousOpening(Exception):
    """Whether an opened word wrapped cannot be told. Both parties see it in the same round, from what was opened.

    The attempt is over and its material used; another attempt needs fresh material.
    """


@dataclass(frozen=True, slots=True)
class Agreement:
    """Words that both parties must have alike. Digests of them ride in the next message; nobody waits for it.

    Attributes:
        words: this party's.
        otherwise: what ends the run at both parties if the digests differ.
    """

    words: Words
    otherwise: MpcvitError

    def __repr__(self) -> str:
        return f"Agreement(<{self.words.nbytes} bytes hidden>)"


@dataclass(frozen=True, slots=True)
class Guard:
    """Words that both parties have alike if and only if a gate was right. The client compares digests of all of them.

    Attributes:
        words: this party's.
    """

    words: Words

    def __repr__(self) -> str:
        return f"Guard(<{self.words.nbytes} bytes hidden>)"


Wire: TypeAlias = Shared | Masked
#: One party's online step: yields what is to be opened, is sent what was opened, returns the wire.
Step = Generator[Opening | Agreement | Guard, Any, Wire]


def share_of(wire: Wire, party: int) -> torch.Tensor:
    """Return this party's additive share of a wire of either form."""
    if isinstance(wire, Masked):
        return wire.hat - wire.mask if party == 0 else -wire.mask
    return wire.share


def masked(*wires: Wire) -> tuple[Masked, ...]:
    """Return inputs that are Masked by plan."""
    found = tuple(wire for wire in wires if isinstance(wire, Masked))
    assert len(found) == len(wires)  # noqa: S101 - the plan gives Masked inputs where a kernel asks for them
    return found


def side_of_zero(share: Words, party: int) -> Words:
    """Return this party's side of an equation between the parties that holds where the shares add up to zero."""
    return share if party == 0 else -share


def words(tensor: torch.Tensor) -> Words:
    """Return the tensor's elements as a flat contiguous uint64 array; a view where it can be."""
    return tensor.contiguous().numpy().view(np.uint64).reshape(-1)


def tensor_of(array: Words, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a flat uint64 array as an int64 tensor of ``shape``, sharing memory."""
    return torch.from_numpy(array.view(np.int64)).reshape(shape)
