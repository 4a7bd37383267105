"""The parties' common seed, and the sharings of zero that come from it."""

from __future__ import annotations

from mpcvit.engines.masked.common_seed import common_seed
from tests.support.secure import seed


def test_either_half_and_the_session_change_it() -> None:
    """A fresh half of one party is enough for a fresh seed, and no two sessions share one."""
    halves, binding = (seed(1), seed(2)), bytes(32)
    seeds = {
        common_seed(binding, halves),
        common_seed(binding, halves[::-1]),
        common_seed(binding, (seed(1), seed(3))),
        common_seed(binding, (seed(3), seed(2))),
        common_seed(bytes([1] * 32), halves),
    }
    assert len(seeds) == 5
    assert {len(one) for one in seeds} == {32}
    assert common_seed(binding, halves) == common_seed(binding, halves)
