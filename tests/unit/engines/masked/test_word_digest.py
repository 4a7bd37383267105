"""Digests by which parties compare words."""

from __future__ import annotations

import numpy as np

from mpcvit.engines.masked.wires import Agreement, Guard, side_of_zero
from mpcvit.engines.masked.word_digest import DIGEST_BYTES, WordDigest
from mpcvit.errors import InputOutOfRange
from mpcvit.wire.result_share import ResultShare
from tests.support.secure import seed

WORDS = np.array([1, 2**64 - 1, 0], dtype=np.uint64)


def test_equal_words_have_equal_digests() -> None:
    """Whatever array they lie in; another word, order, name, purpose or seed gives another digest."""
    digest = WordDigest(seed(1), "guard")
    one = digest.of("a", WORDS)
    assert len(one) == DIGEST_BYTES
    assert one == WordDigest(seed(1), "guard").of("a", np.stack([WORDS, WORDS])[1]) == digest.of("a", WORDS[::-1][::-1])
    others = {
        digest.of("b", WORDS),
        digest.of("a", WORDS[::-1]),
        digest.of("a", WORDS[:2]),
        digest.of("a", WORDS + np.uint64(1)),
        WordDigest(seed(1), "agreement").of("a", WORDS),
        WordDigest(seed(2), "guard").of("a", WORDS),
    }
    assert len(others - {one}) == 6


def test_a_digest_of_digests_depends_on_all_of_them() -> None:
    """On each, on their order and on their number; none of them is its own."""
    digest = WordDigest(seed(1), "guard")
    parts = [digest.of(name, WORDS) for name in "abc"]
    every = [parts, parts[::-1], parts[:2], parts[:1], []]
    assert len({digest.of_all(each) for each in every} | set(parts)) == 8


def test_sides_of_zero() -> None:
    """Shares that add up to zero give the parties the same words, others do not."""
    share = np.array([5, 2**63], dtype=np.uint64)
    assert (side_of_zero(share, 0) == side_of_zero(-share, 1)).all()
    assert (side_of_zero(share, 0) != side_of_zero(np.uint64(1) - share, 1)).all()


def test_reprs_hide_words() -> None:
    """No share or digest shows by accident."""
    words = np.array([123456789], dtype=np.uint64)
    error = InputOutOfRange("a", expected="b", remedy="c")
    for item in (Agreement(words, error), Guard(words), ResultShare(words.view(np.int64), b"digest")):
        assert "123456789" not in repr(item)
        assert "digest'" not in repr(item)
