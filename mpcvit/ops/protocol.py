"""The base of all protocols: one way to run one op in the fast engine (two parties and a dealer, DESIGN 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Masked, Step, Wire

#: What the dealer knows of an input: the mask of a Masked one, the offset (or None) of a Shared one.
Secret = torch.Tensor | None
#: What a party knows of an input before the inference: its share of the mask; all of it for weights; else nothing.
Known = Masked | torch.Tensor | None


class Form(StrEnum):
    """The form of a wire; see :mod:`mpcvit.session.wires`."""

    SHARED = "shared"
    MASKED = "masked"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a party has ready for one node before the inference.

    Attributes:
        state: whatever the protocol's ``run`` needs.
        mask: this party's share of the result's mask, for protocols with a Masked result.
        extra: this party's share of an offset correction, after a reopening upstream.
    """

    state: Any
    mask: torch.Tensor | None = None
    extra: torch.Tensor | None = None

    def __repr__(self) -> str:
        return "Prepared(<hidden>)"


class Protocol(ABC):
    """One op with fixed shapes; all tensors carry a leading batch axis of 1.

    ``deal`` and ``prepare`` make the same calls on their first argument, in the same order.
    """

    #: The form of the result.
    form: Form = Form.SHARED
    #: Whether the result's shares add up to more than the result, by an offset that the dealer knows.
    leaves_offset: bool = False

    @abstractmethod
    def openings(self) -> tuple[int, ...]:
        """Bytes that each party sends, one entry per round."""

    def material(self) -> tuple[int, int]:
        """Bytes that the dealer sends to party 0 and to party 1."""
        return 0, 0

    def expanded_bytes(self) -> int:
        """Memory of a large prepared state; such a step may be prepared when it starts instead of ahead. Else 0."""
        return 0

    def online_work_s(self) -> float:
        """Rough seconds of one core that :meth:`run` takes; for choosing between protocols only."""
        return 0.0

    def reopen_probability(self) -> float:
        """Bound on the chance that an opening of one use is ambiguous and repeated."""
        return 0.0

    @abstractmethod
    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        """Deal one use; the mask (or offset) of the result. Sets ``dealing.rounding`` where the op rounds."""

    @abstractmethod
    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        """Take one use's material and do all that does not depend on the inference's input."""

    @abstractmethod
    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        """One party's online step. A generator: yields openings, is sent what was opened, returns the result."""


def tensor_mask(known: Known) -> torch.Tensor:
    """This party's share of the mask of a Masked input."""
    if isinstance(known, Masked):
        return known.mask
    assert known is not None  # noqa: S101 - the plan gives Masked inputs where a protocol asks for them
    return known
