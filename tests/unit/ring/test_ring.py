"""Fixed point and additive sharing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, RangeError
from mpcvit.ring.fixed_point import decode, encode
from mpcvit.ring.prg import Prg
from mpcvit.ring.qtype import QType
from mpcvit.ring.sharing import join, mask, shares, split
from tests.support.secure import seed


@given(st.lists(st.floats(-100, 100), min_size=1), st.integers(0, 40))
def test_encoding_rounds_to_nearest(values: list[float], frac: int) -> None:
    """Decoding gives the value back to half a step."""
    qtype = QType(frac=frac, lo=-100, hi=100)
    error = decode(encode(values, qtype), frac) - np.array(values)
    assert np.abs(error).max() <= qtype.step / 2


def test_encoding_is_unbiased() -> None:
    """Positive and negative values round alike; truncation toward zero would shift the mean by half a step."""
    values = np.random.default_rng(1).uniform(-1, 1, 100_000)
    error = decode(encode(values, QType(frac=8, lo=-1, hi=1)), 8) - values
    assert abs((error * np.sign(values)).mean()) < 2e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused(bad: float) -> None:
    """NaN and infinities get an error that tells how many, and no values."""
    with pytest.raises(InputError, match="2 of 3 values that are NaN or infinite"):
        encode([1.0, bad, bad], QType(frac=8, lo=-2, hi=2))


def test_out_of_range_is_refused() -> None:
    """Values beyond the bounds are an error, not a clamp."""
    with pytest.raises(InputError, match=r"1 of 2 values outside \[-2, 2\]"):
        encode([1.0, 2.1], QType(frac=8, lo=-2, hi=2))


@pytest.mark.parametrize(
    ("frac", "lo", "hi"),
    [(-1, 0.0, 1.0), (63, 0.0, 0.1), (10, 1.0, 0.0), (10, 0.0, float("inf")), (40, 0.0, 2.0**22), (8, float("nan"), 1)],
)
def test_impossible_types_are_refused(frac: int, lo: float, hi: float) -> None:
    """Bounds must be finite, ordered, and fit below 62 bits."""
    with pytest.raises(RangeError):
        QType(frac=frac, lo=lo, hi=hi)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(2, 5))
def test_shares_add_up(values: list[int], parties: int) -> None:
    """All shares together give the codes, for the whole ring."""
    codes = np.array(values, dtype=np.int64)
    seeds = [seed(number) for number in range(parties - 1)]
    shares = [mask(Prg(s), codes.shape, "x") for s in seeds]
    shares.append(split(codes, [Prg(s) for s in seeds], "x"))
    assert (join(shares) == codes).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_all_shares_at_once_are_those_apart(parties: int) -> None:
    """Masks for all parties but the last, whose share is the rest."""
    codes = np.array([[1, -(2**63)], [2**63 - 1, 0]])
    prgs, others = ([Prg(seed(party)) for party in range(parties - 1)] for _ in range(2))
    every = shares(codes, prgs, "x")
    assert len(every) == parties
    assert all((own == mask(prg, codes.shape, "x")).all() for own, prg in zip(every, others, strict=False))
    assert (join(every) == codes).all()


def test_shares_look_uniform() -> None:
    """The masked share of a constant picture has fair bits, and differs from session to session."""
    codes = np.zeros((100, 100), dtype=np.int64)
    first, second = (split(codes, [Prg(seed(9))], label) for label in ("a", "b"))
    fair = np.array([((first >> bit) & 1).mean() for bit in range(64)])
    assert np.abs(fair - 0.5).max() < 5 * 0.5 / 100
    assert (first != second).all()
