"""The base of all protocols: one way to run one op in the fast engine (two parties and a dealer; docs/protocols.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final

import torch

from mpcvit.engines.masked.layout import Layout, sent_bytes
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.wires import Masked, Step, Wire

#: What the dealer knows of an input: the mask of a Masked one, the offset (or None) of a Shared one.
Secret = torch.Tensor | None
#: What a party knows of an input before the inference: its share of the mask; all of it for weights; else nothing.
Known = Masked | torch.Tensor | None


class Form(StrEnum):
    """The form of a wire; see :mod:`mpcvit.engines.masked.wires`."""

    SHARED = "shared"
    MASKED = "masked"


@dataclass(frozen=True, slots=True)
class Dealt:
    """What the dealer makes of one use of a protocol.

    Attributes:
        mask: of a Masked result, or the offset of a Shared one (None: there is none).
        sent: the arrays of the layout's sent items, in order, without inner tuples.
        rounding: what the op adds before it drops bits, to replay a run in clear; None where it drops none.
    """

    mask: Secret = None
    sent: Values = ()
    rounding: torch.Tensor | None = None

    def __repr__(self) -> str:
        return "Dealt(<hidden>)"


@dataclass(frozen=True, slots=True)
class Side:
    """The party that prepares.

    Attributes:
        party: 0 or 1.
        session: public bytes that tell this session from all others, for fixed-key hashing.
    """

    party: int
    session: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a party has ready for one node before the inference.

    Attributes:
        state: whatever the protocol's ``run`` needs.
        mask: this party's share of the result's mask, for protocols with a Masked result.
    """

    state: Any
    mask: torch.Tensor | None = None

    def __repr__(self) -> str:
        return "Prepared(<hidden>)"


class Protocol(ABC):
    """One op with fixed shapes; all tensors carry a leading batch axis of 1.

    ``layout`` says what the material of one use is: ``deal`` gives it, ``prepare`` takes it.
    """

    #: The form of the result.
    form: Form = Form.SHARED
    #: How many digests of 32 bytes the first message after this step's start carries for it.
    agreements: int = 0

    def openings(self) -> tuple[int, ...]:
        """Return the bytes that each party sends to open values, one entry per round."""
        return ()

    def layout(self) -> Layout:
        """Return the items of one use's material."""
        return ()

    @final
    def material(self) -> tuple[int, int]:
        """Return the bytes that the dealer sends to party 0 and to party 1."""
        return sent_bytes(self.layout())

    def with_guard(self) -> Protocol | None:
        """Return this protocol, also giving a :class:`~mpcvit.engines.masked.wires.Guard`; None if it cannot."""
        return None

    def online_work_s(self) -> float:
        """Return the rough seconds of one core that :meth:`run` takes; for choosing between protocols only."""
        return 0.0

    def repeat_probability(self) -> float:
        """Bound the chance that an opening of one use is ambiguous, so that the inference needs another attempt."""
        return 0.0

    @abstractmethod
    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        """Deal one use.

        Args:
            session: public bytes that tell this session from all others, for fixed-key hashing.
            drawn: the values of the layout's drawn items; a layout within has its own tuple.
        """

    @abstractmethod
    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        """Do all that does not depend on the inference's input.

        Args:
            taken: this party's values of all items of the layout; a layout within has its own tuple.
        """

    @abstractmethod
    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        """Return one party's online step. A generator: yields openings, is sent what was opened, returns the result."""


def dealt_mask(secret: Secret) -> torch.Tensor:
    """Return the dealer's mask of a Masked input."""
    assert secret is not None  # noqa: S101 - the plan gives Masked inputs where a protocol asks for them
    return secret


def tensor_mask(known: Known) -> torch.Tensor:
    """Return this party's share of the mask of a Masked input."""
    if isinstance(known, Masked):
        return known.mask
    assert known is not None  # noqa: S101 - the plan gives Masked inputs where a protocol asks for them
    return known
