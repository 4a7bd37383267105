"""Dealing of CrypTen's material."""

from __future__ import annotations

from mpcvit.engines.crypten.dealer import deal
from mpcvit.export.vit import Exported
from mpcvit.ring.prg import Prg
from tests.support.secure import seed


def test_dealing_is_reproducible_and_fresh(tiny_exported: Exported) -> None:
    """The same dealer seed gives the same material, another one nothing in common; only the last party gets bytes."""
    one, again, other = (deal(tiny_exported.program, 2, Prg(seed(number))) for number in (1, 1, 2))
    assert [m.seed for m in one] == [m.seed for m in again] != [m.seed for m in other]
    assert one[1].corrections == again[1].corrections != other[1].corrections
    assert one[0].corrections == b""
