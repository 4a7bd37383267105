"""Comparison from one-hot blocks: XOR shares of [x < alpha] in a few rounds of packed bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss import onehot
from mpcvit.fss.checks import Bytes, Words
from mpcvit.ring.prg import Prg
from tests.support.fss_keys import (
    assert_alike,
    assert_unbiased,
    bits_of,
    digest,
    edge_points,
    edge_secrets,
    flip_each_bit,
    seed,
    uniform,
)


@dataclass
class Run:
    """All parties in one process, opening by XOR: the protocol as one reads it.

    ``flip`` names a triple product, as (level, row), that reaches party 0 with its bit flipped.
    """

    parties: int = 2
    number: int = 1
    flip: tuple[int, int] | None = None
    packed: list[Bytes] = field(default_factory=list)
    openings: list[Bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Prg(seed(self.number)).stream("onehot")

    def bits(self, *shape: int) -> Bytes:
        return self.random.bits(shape).astype(np.uint8)

    def share(self, clear: Bytes, top: int) -> list[Bytes]:
        """XOR shares of bytes below ``top`` + 1."""
        masks = [self.random.draw(clear.size).reshape(clear.shape) & np.uint8(top) for _ in range(self.parties - 1)]
        return [*masks, np.bitwise_xor.reduce([clear, *masks])]

    def deal(self, alpha: Words, bits: int, width: int) -> None:
        self.packed = self.share(onehot.deal(alpha, bits, width), 255)

    def compare(self, x: Words, bits: int, width: int) -> list[Bytes]:
        """Each party's share of [x < alpha]."""
        nodes = [onehot.local_blocks(share, x, bits, width) for share in self.packed]
        for level, pairs in enumerate(onehot.pairs_per_level(bits, width)):
            a, b = self.bits(pairs, x.size), self.bits(onehot.and_gates(pairs), x.size)
            triples = [self.share(part, 1) for part in (a, b, onehot.triple_products(a, b))]
            if self.flip is not None and self.flip[0] == level:
                triples[2][0][self.flip[1]] ^= 1
            sent = [onehot.mask_level(*nodes[i], triples[0][i], triples[1][i]) for i in range(self.parties)]
            opened = np.bitwise_xor.reduce(sent)
            assert opened.shape == (onehot.opened_bits(pairs), x.size)
            self.openings.append(opened)
            nodes = [
                onehot.combine_level(i, opened, *nodes[i], triples[0][i], triples[1][i], triples[2][i])
                for i in range(self.parties)
            ]
        assert all(g.shape == (1, x.size) and p.shape == (0, x.size) for g, p in nodes)
        return [g[0] for g, _ in nodes]


def opened(alpha: Words, x: Words, bits: int, width: int, parties: int = 2) -> Bytes:
    """The result of a whole run."""
    run = Run(parties)
    run.deal(alpha, bits, width)
    result: Bytes = np.bitwise_xor.reduce(run.compare(x, bits, width))
    return result


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("bits", [*range(1, 21), 32, 40, 63])
def test_edges_and_random_points(bits: int, width: int) -> None:
    """Every width and block width, at the ends of the domain, around alpha and elsewhere."""
    alpha = edge_secrets(40, bits) if bits > 1 else uniform((40,), 1)
    x = edge_points(alpha, bits)
    alpha = np.tile(alpha, x.shape[0])
    assert (opened(alpha, x.reshape(-1), bits, width) == (x.reshape(-1) < alpha)).all()


@pytest.mark.parametrize(("bits", "width"), [(1, 8), (4, 2), (5, 2), (6, 1), (6, 4), (8, 8)])
def test_exhaustive(bits: int, width: int) -> None:
    """Every alpha with every point of a small domain."""
    domain = np.arange(2**bits, dtype=np.uint64)
    alpha, x = np.repeat(domain, domain.size), np.tile(domain, domain.size)
    assert (opened(alpha, x, bits, width) == (x < alpha)).all()


def test_three_parties() -> None:
    """All but the products is linear: three parties work the same."""
    alpha, x = uniform((500,), 63), uniform((500,), 63, number=2)
    x[:50] = alpha[:50]
    assert (opened(alpha, x, 63, 8, parties=3) == (x < alpha)).all()


@given(st.integers(1, 63), st.integers(1, 8), st.data())
def test_any_pair(bits: int, width: int, data: st.DataObject) -> None:
    """Whatever widths, secret and point hypothesis thinks of."""
    domain = st.integers(0, 2**bits - 1)
    alpha, x = (np.array([data.draw(domain)], dtype=np.uint64) for _ in range(2))
    assert opened(alpha, x, bits, width)[0] == (x[0] < alpha[0])


@pytest.mark.parametrize(
    ("bits", "width", "widths", "size", "pairs", "sent"),
    [
        (63, 8, (8,) * 7 + (7,), 7 * 32 + 16, (4, 2, 1), 11 + 5 + 2),
        (15, 8, (8, 7), 32 + 16, (1,), 2),
        (15, 4, (4, 4, 4, 3), 3 * 2 + 1, (2, 1), 5 + 2),
        (9, 2, (2, 2, 2, 2, 1), 5, (2, 1, 1), 5 + 2 + 2),
        (8, 8, (8,), 32, (), 0),
    ],
)
def test_costs(bits: int, width: int, widths: tuple[int, ...], size: int, pairs: tuple[int, ...], sent: int) -> None:
    """Block widths, stored bytes, rounds and opened bits, worked out by hand."""
    assert onehot.block_widths(bits, width) == widths
    assert onehot.key_bytes(bits, width) == size == onehot.deal(uniform((3,), bits), bits, width).shape[1]
    assert onehot.pairs_per_level(bits, width) == pairs
    assert sum(onehot.opened_bits(one) for one in pairs) == sent


def test_packing() -> None:
    """Bit alpha_block of each block is set and no other: 0x2A3 is blocks 3, 10 and 2 of four bits."""
    packed = onehot.deal(np.array([0x2A3], dtype=np.uint64), 12, 4)
    assert np.flatnonzero(np.unpackbits(packed, bitorder="little")).tolist() == [3, 16 + 10, 32 + 2]


def test_known_answer() -> None:
    """Committed digests of packed blocks and of one party's local step do not change."""
    packed = onehot.deal(uniform((50,), 21), 21, 8)
    noise = Prg(seed(9)).stream("noise").draw(packed.size).reshape(packed.shape)
    assert digest(packed) == "244fb1082d551596"
    assert digest(*onehot.local_blocks(packed ^ noise, uniform((50,), 21, number=2), 21, 8)) == "cb314086045eada5"


def test_every_stored_bit_counts() -> None:
    """A flipped bit in a party's blocks gives a wrong result at some point of the domain.

    But one: bit 0 of the lowest block lies above no point, and equality in the lowest block is never read.
    """
    bits, width, flips = 12, 6, 128
    alpha = np.array([0b101100_011010], dtype=np.uint64)
    run = Run()
    run.deal(alpha, bits, width)
    share = run.packed[0].view(np.uint64).reshape(-1)
    x = np.tile(np.arange(2**bits, dtype=np.uint64), (flips, 1))
    tampered = flip_each_bit(share).view(np.uint8)
    run.packed = [np.repeat(one, 2**bits, axis=0) for one in (tampered, np.repeat(run.packed[1], flips, axis=0))]
    first, second = run.compare(x.reshape(-1), bits, width)
    wrong = ((first ^ second).reshape(x.shape) != (x < alpha)).any(axis=1)
    assert np.flatnonzero(~wrong).tolist() == [0]


@pytest.mark.parametrize("flip", [(level, row) for level, rows in enumerate((3, 1)) for row in range(rows)])
def test_a_flipped_triple_changes_the_result(flip: tuple[int, int]) -> None:
    """A wrong product bit shows at some of many points, whichever product it is."""
    alpha = np.full(4096, 0xA5C3, dtype=np.uint64)
    x = np.concatenate([uniform((2048,), 16), np.uint64(0xA500) + uniform((2048,), 8)])
    run = Run(flip=flip)
    run.deal(alpha, 16, 4)
    first, second = run.compare(x, 16, 4)
    assert ((first ^ second) != (x < alpha)).any()


def view(alpha: int, party: int) -> Bytes:
    """What a party sees of 4096 comparisons of one alpha, as bits: blocks, openings, its share of the result."""
    run = Run(number=alpha)
    run.deal(np.full(4096, alpha, dtype=np.uint64), 12, 3)
    shares = run.compare(np.full(4096, 0x5A7, dtype=np.uint64), 12, 3)
    return np.concatenate(
        [bits_of(run.packed[party]), *(one.T for one in run.openings), shares[party][:, None]], axis=1
    )


@pytest.mark.parametrize("party", [0, 1])
def test_views_do_not_depend_on_alpha(party: int) -> None:
    """Over random shares, every bit that a party sees is fair, whatever alpha, and two alphas look the same."""
    low, high = view(0x5A8, party), view(0x013, party)
    assert_unbiased(low)
    assert_unbiased(high)
    assert_alike(low, high)


def test_refuses_wrong_arguments() -> None:
    """Widths, values, shapes and dtypes are checked before any work."""
    alpha = uniform((4,), 16)
    packed = onehot.deal(alpha, 16, 8)
    for bits, width in ((0, 8), (64, 8), (16, 0), (16, 9)):
        with pytest.raises(InputError, match="expected 1 to"):
            onehot.deal(alpha, bits, width)
    with pytest.raises(InputError, match="a value of alpha beyond 12 bits"):
        onehot.deal(np.full(4, 4096, dtype=np.uint64), 12, 8)
    with pytest.raises(ShapeMismatch, match="packed"):
        onehot.local_blocks(packed[:, 1:], alpha, 16, 8)
    with pytest.raises(ShapeMismatch, match="3 points"):
        onehot.local_blocks(packed, alpha[:3], 16, 8)
    g, p = onehot.local_blocks(packed, alpha, 16, 8)
    a, b = np.zeros((1, 4), dtype=np.uint8), np.zeros((1, 4), dtype=np.uint8)
    opened_bits = onehot.mask_level(g, p, a, b)
    with pytest.raises(ShapeMismatch, match="two nodes or more"):
        onehot.mask_level(g[:1], p[:0], a, b)
    with pytest.raises(ShapeMismatch, match="p as"):
        onehot.mask_level(g, g, a, b)
    with pytest.raises(ShapeMismatch, match="b as"):
        onehot.mask_level(g, p, a, np.zeros((2, 4), dtype=np.uint8))
    with pytest.raises(ShapeMismatch, match="a as"):
        onehot.mask_level(g, p, np.zeros((2, 4), dtype=np.uint8), b)
    with pytest.raises(ShapeMismatch, match="opened"):
        onehot.combine_level(0, opened_bits[:1], g, p, a, b, b)
    with pytest.raises(ShapeMismatch, match="c as"):
        onehot.combine_level(0, opened_bits, g, p, a, b, b.astype(np.int64))
    with pytest.raises(ShapeMismatch, match="pairs"):
        onehot.triple_products(a[:0], b)
