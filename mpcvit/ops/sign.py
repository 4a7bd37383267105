"""Which bits of a code decide its sign."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SignWindow:
    """The sign of x from its bits from ``drop`` to ``drop + width``.

    For -2**(drop + width) <= x <= 2**(drop + width) - 2**drop: the ignored bits may round x up by 2**drop - 1.

    Attributes:
        drop: bits ignored.
        width: bits below the one that is the sign, at least 1.
    """

    drop: int
    width: int

    @classmethod
    def of(cls, code_bound: int, drop: int) -> SignWindow:
        """Return the narrowest window for codes of at most this magnitude, also once the ignored bits round them up."""
        return cls(drop, max((code_bound + (1 << drop) - 1).bit_length() - drop, 1))

    @property
    def codes(self) -> tuple[int, int]:
        """Least and largest x whose sign it gives."""
        return -(1 << (self.drop + self.width)), (1 << (self.drop + self.width)) - (1 << self.drop)
