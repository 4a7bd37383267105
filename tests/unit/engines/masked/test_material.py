"""Material: what a layout says, what the dealer writes and what a party reads are one thing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.layout import (
    CommonWords,
    Layout,
    RandomBits,
    RandomWords,
    Seeds,
    SharedBits,
    SharedWords,
    Shuffle,
    sent_bytes,
)
from mpcvit.engines.masked.material import MaterialWriter, Values, read_material
from mpcvit.errors import DealerLost, InternalError
from mpcvit.ring.prg import Prg, Stream
from tests.support.secure import seed

#: Every kind of item, some of them within, and one that is empty.
LAYOUT: Layout = (
    RandomBits(13),
    (Seeds(3), CommonWords((2, 3, 2)), (SharedBits(11), Shuffle(5))),
    SharedWords((1, 4)),
    CommonWords((0, 3)),
    RandomWords((2, 2)),
)
WORDS = np.arange(12, dtype=np.uint64).reshape(2, 3, 2)
BITS = np.array([0b10110011, 0b01000000], dtype=np.uint8)
CODES = torch.tensor([[1, -2, 3, -(2**63)]])
SENT = (WORDS, BITS, CODES, np.zeros((0, 3), dtype=np.uint64))


def streams(first: bytes = seed(1), second: bytes = seed(2)) -> tuple[Stream, Stream]:
    """Both parties' streams of a step."""
    return Prg(first).stream("step"), Prg(second).stream("step")


def both_sides(layout: Layout, sent: Values) -> tuple[Values, Values, Values]:
    """What the dealer draws, and what each party takes."""
    writer = MaterialWriter(layout, streams())
    written = writer.write(sent)
    assert tuple(map(len, written)) == sent_bytes(layout)
    first, second = (read_material(layout, party, streams()[party], memoryview(written[party])) for party in (0, 1))
    return writer.drawn, first, second


def test_every_item_comes_to_both_parties() -> None:
    """Shares join to what the dealer drew or gave; each party has its own seeds; common words are the same words."""
    (bits, (seeds, (shuffle,)), words), first, second = both_sides(LAYOUT, SENT)
    assert (first[0] ^ second[0]).tolist() == bits.tolist()
    assert [one[1][0].tolist() for one in (first, second)] == [roots.tolist() for roots in seeds]
    assert not any((roots[:, 0] & np.uint64(3)).any() for roots in seeds)
    assert sorted(shuffle.tolist()) == list(range(5))
    assert torch.equal(first[4] + second[4], words)
    for taken in (first, second):
        assert (taken[1][1] == WORDS).all()
        assert taken[1][2][1] is None  # the dealer's secret
        assert taken[3].shape == (0, 3)
    assert (first[1][2][0] ^ second[1][2][0]).tolist() == BITS.tolist()
    assert torch.equal(first[2] + second[2], CODES)


def test_bytes_are_those_of_the_items() -> None:
    """Party 0 gets common words alone; party 1 also a share of each word and bit that the dealer gives."""
    assert sent_bytes(LAYOUT) == (96, 96 + 2 + 32)
    assert sent_bytes(()) == (0, 0)
    assert [sent_bytes(item) for item in (RandomWords((9,)), RandomBits(9), Seeds(9), Shuffle(9))] == [(0, 0)] * 4


@pytest.mark.parametrize(
    "sent",
    [
        SENT[:-1],
        (*SENT, CODES),
        (WORDS.reshape(3, 2, 2), *SENT[1:]),
        (WORDS.astype(np.int64), *SENT[1:]),
        (WORDS, np.unpackbits(BITS), *SENT[2:]),
        (),
    ],
    ids=["one less", "one more", "shape", "type", "unpacked bits", "nothing"],
)
def test_the_dealer_gives_what_the_layout_says(sent: Values) -> None:
    """Nothing else is written; the error says shapes and types, and no value."""
    writer = MaterialWriter(LAYOUT, streams())
    with pytest.raises(InternalError, match=r"expected uint64\[2, 3, 2\], uint8\[2\], int64\[1, 4\]") as raised:
        writer.write(sent)
    assert "9223372036854775808" not in str(raised.value)


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("change", [-1, 1, -8])
def test_a_party_reads_all_of_it(party: int, change: int) -> None:
    """A byte too few or too many is DEALER_LOST before anything is drawn."""
    written = MaterialWriter(LAYOUT, streams()).write(SENT)[party] + bytes(1)
    stream = streams()[party]
    with pytest.raises(DealerLost, match=f"expected {sent_bytes(LAYOUT)[party]} bytes"):
        read_material(LAYOUT, party, stream, memoryview(written)[: len(written) - 1 + change])
    assert stream.draw(16).tolist() == streams()[party].draw(16).tolist()


def test_permutations_are_uniform_and_need_both_parties_words() -> None:
    """Every order comes up equally often, also for one fixed party's stream; what follows in the streams agrees."""
    runs = 1200
    fixed = seed(7)
    layout: Layout = (Shuffle(3), RandomWords((4,)))
    for fix in (0, 1, None):
        seen: Counter[tuple[int, ...]] = Counter()
        for number in range(runs):
            seeds = [fixed if party == fix else seed(10_000 + 2 * number + party) for party in (0, 1)]
            writer = MaterialWriter(layout, streams(*seeds))
            order, after = writer.drawn
            seen[tuple(order.tolist())] += 1
            assert writer.write(()) == (b"", b"")
            if number == 0:
                taken = [read_material(layout, p, streams(*seeds)[p], memoryview(b"")) for p in (0, 1)]
                assert torch.equal(taken[0][1] + taken[1][1], after)
        assert len(seen) == 6
        expected = runs / 6
        assert sum((count - expected) ** 2 / expected for count in seen.values()) < 20.5  # p = 0.001
