"""Fewer fractional bits: the one place where a value is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.masked_opening import MAX_BOUND_BITS, TruncatingOpening
from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import truncate, truncate_correlations, truncation_error, wrap_probability
from mpcvit.session.session import Session


def round_shift(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """round(codes / 2**bits), halves up: the reference of every rescaling."""
    return (codes + (1 << (bits - 1))) >> bits


@dataclass(frozen=True)
class Rescale(Op):
    """Drops the lowest ``bits`` fractional bits, rounding to nearest.

    On stock shares: 0 rounds for 2 parties, 1 for more; off by at most 1 LSB for 2 parties and n LSB for n > 2; wraps
    silently with the stated probability (CrypTen truncates shares locally).
    """

    name: ClassVar[str] = "rescale"
    bits: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if not 0 < self.bits <= x.frac:
            raise ProgramError(
                f"rescale by {self.bits} bits of {x}",
                expected=f"1 to {x.frac} bits",
                remedy="Choose a result with fewer fractional bits than the input.",
            )
        return x.shape, x.frac - self.bits

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return round_shift(x, self.bits) if rounding is None else (x + rounding) >> self.bits

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        (x,) = inputs
        if x.qtype.code_bound.bit_length() > MAX_BOUND_BITS:
            raise RangeError(
                f"rescale of codes up to 2**{x.qtype.code_bound.bit_length()}",
                expected=f"codes below 2**{MAX_BOUND_BITS} for the fast engine",
                remedy="Use fewer fractional bits, or rescale before.",
            )
        return [TruncatingOpening(x.shape, forms[0], self.bits, x.qtype.code_bound.bit_length())]

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return truncate_correlations(x.shape, parties)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        return truncate(x, self.bits)

    def stock_error(self, inputs: Sequence[TensorType], parties: int) -> int:
        return truncation_error(parties)

    def wrap_probability(self, inputs: Sequence[TensorType], parties: int) -> float:
        (x,) = inputs
        return x.size * wrap_probability(x.qtype.code_bound)
