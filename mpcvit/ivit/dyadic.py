"""Change of scale without division: y = round(q m / 2^e), m of 31 bits (I-ViT, ICCV 2023, section 3.1).

A tensor of codes q at scale S_in becomes one at S_out when m / 2^e is S_in / S_out. Every number here is an integer of
at most 63 bits, and nothing wraps: what would is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.errors import ConfigError, RangeError

INT32 = 1 << 31
_MULTIPLIER_BITS = 31
#: No ratio needs more: its multiplier is then off by at most half, and y by 2**31 / 2**55. Leaves room for offsets.
_MAX_SHIFT = 54
#: Below this, code * multiplier + offset + rounding stays below 2**63.
_OFFSET_LIMIT = 1 << 61


@dataclass(frozen=True, eq=False)
class Dyadic:
    """A change of scale, for all codes or per channel (the last axis).

    Attributes:
        multiplier: m, int64, 0 <= abs(m) < 2**31, [] or [channels].
        shift: e, int64, 1 to 54, of the shape of ``multiplier``.
        offset: added before the shift, in units of 2**-e of the new scale; magnitude below 2**61; broadcasts.
    """

    multiplier: torch.Tensor
    shift: torch.Tensor
    offset: torch.Tensor

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """Return floor((codes * m + offset) / 2**e + 1/2) as int64.

        Raises:
            RangeError: a code does not fit 32 bits.
        """
        product = check_int32(codes) * self.multiplier + self.offset
        return (product + (1 << (self.shift - 1))) >> self.shift


def dyadic(ratio: torch.Tensor | float, offset: torch.Tensor | float = 0.0) -> Dyadic:
    """Return the :class:`Dyadic` nearest to ``ratio * code + offset``.

    Args:
        ratio: S_in / S_out, magnitude below 2**30, float64 [] or [channels]; negative where a gain is.
        offset: in units of S_out, broadcasts with ``ratio``.

    Raises:
        ConfigError: ``ratio`` is too large or not finite, or ``offset`` leaves the integers.
    """
    ratio = torch.as_tensor(ratio, dtype=torch.float64)
    if not bool(ratio.isfinite().all()) or float(ratio.abs().max()) >= 1 << (_MULTIPLIER_BITS - 1):
        raise ConfigError(
            f"a ratio of scales of {float(ratio.abs().max()):g}",
            expected=f"a finite one below {1 << (_MULTIPLIER_BITS - 1)}",
            remedy="Calibrate on pictures that the model was made for.",
        )
    # frexp: abs(fraction) in [1/2, 1), so that m has all 31 bits unless rounding carries it to 2**31
    exponent = torch.frexp(ratio).exponent.long()
    exponent += (ratio * 2.0 ** (_MULTIPLIER_BITS - exponent)).round().abs() == INT32
    shift = (_MULTIPLIER_BITS - exponent).clamp(1, _MAX_SHIFT)
    offset = (torch.as_tensor(offset, dtype=torch.float64) * 2.0**shift).round()
    if float(offset.abs().max()) >= _OFFSET_LIMIT:
        raise ConfigError(
            f"an offset of {float((offset / 2.0**shift).abs().max()):g} codes",
            expected=f"less than {_OFFSET_LIMIT} before a shift by {int(shift.max())}",
            remedy="Calibrate on pictures that the model was made for.",
        )
    return Dyadic((ratio * 2.0**shift).round().long(), shift, offset.long())


def check_int32(codes: torch.Tensor) -> torch.Tensor:
    """Return ``codes``, which fit a 32-bit accumulator.

    Raises:
        RangeError: one does not.
    """
    low, high = torch.aminmax(codes)
    if int(low) < -INT32 or int(high) >= INT32:
        raise RangeError(
            f"an accumulator between {int(low)} and {int(high)}",
            expected="32 bits",
            remedy="Calibrate on pictures like these, or use the model in floating point.",
        )
    return codes


def saturate(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return ``codes``, limited to signed integers of ``bits`` bits."""
    return codes.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
