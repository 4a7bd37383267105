"""The dealer without its network face."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mpcvit.engines.crypten.dealer import corrections
from mpcvit.engines.masked.dealer import deal_plan, weight_masks
from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import (
    ConfigError,
    DealerLost,
    DealerTimeout,
    NotAllowed,
    Overloaded,
    ProgramMismatch,
    SessionReplayed,
    SessionUnknown,
    WeightMaskUnknown,
)
from mpcvit.program.files import load_program
from mpcvit.ring.prg import Prg
from parties.common.settings import DealerSettings, EngineName
from parties.dealer.dealing import FastDealing
from parties.dealer.lease import MaterialOrder
from parties.dealer.leases import Dealer

SESSION = bytes(range(16))
MASK = bytes(range(16, 32))
MANIFEST = bytes(range(32))


def _dealer(folder: Path, state: Path, **fields: object) -> Dealer:
    settings = DealerSettings(
        listen={"party": "x:1", "health": "x:2"},
        tls={"ca": "a", "cert": "b", "key": "c"},
        programs=[folder],
        state=state,
        **fields,
    )
    return Dealer(settings)


@pytest.fixture
def dealer(tiny_folder: Path, tmp_path: Path) -> Iterator[Dealer]:
    """A dealer for the tiny program."""
    dealer = _dealer(tiny_folder, tmp_path / "state")
    yield dealer
    dealer.close()


@pytest.fixture
def digest(tiny_folder: Path) -> bytes:
    """The tiny program's digest."""
    return bytes.fromhex(load_program(tiny_folder).digest)


@pytest.fixture
def stock(digest: bytes) -> MaterialOrder:
    """Material for one session of the stock engine."""
    return MaterialOrder(SESSION, digest, "1", 2, EngineName.STOCK, "", b"")


@pytest.fixture
def weight_prgs(dealer: Dealer, digest: bytes) -> tuple[Prg, Prg]:
    """What both parties have opened their weights with."""
    first, second = (dealer.lease_weight_mask(MASK, digest, MANIFEST, party) for party in (0, 1))
    return Prg(first), Prg(second)


@pytest.fixture
def fast(weight_prgs: tuple[Prg, Prg], digest: bytes) -> MaterialOrder:
    """Material for one session of the fast engine; both parties have opened their weights."""
    return MaterialOrder(SESSION, digest, "1", 2, EngineName.FAST, "wan", MASK)


def test_each_party_leases_once(dealer: Dealer, stock: MaterialOrder) -> None:
    """Parties share the lease id, not the seed; a second lease of either is a replay."""
    first = [dealer.lease(stock, party) for party in (0, 1)]
    assert first[0].lease_id == first[1].lease_id
    assert first[0].seed != first[1].seed
    assert first[0].material_bytes == 0 < first[1].material_bytes
    for party in (0, 1):
        with pytest.raises(SessionReplayed):
            dealer.lease(stock, party)
    assert dealer.lease(replace(stock, material_id=bytes(16)), 0).seed != first[0].seed


def test_corrections_are_what_the_seeds_give(dealer: Dealer, stock: MaterialOrder, tiny_folder: Path) -> None:
    """The stock stream is the last party's corrections under the leased seeds, of the announced length; once."""
    leases = [dealer.lease(stock, party) for party in (0, 1)]
    streamed = b"".join(map(bytes, dealer.stream(SESSION, 1)))
    expected = b"".join(map(bytes, corrections(load_program(tiny_folder), [lease.seed for lease in leases])))
    assert streamed == expected
    assert len(streamed) == leases[1].material_bytes
    with pytest.raises(SessionUnknown):  # nobody waits for more: the lease is over
        next(dealer.stream(SESSION, 1))
    with pytest.raises(SessionReplayed):
        dealer.lease(stock, 1)


def test_fast_material_is_what_the_plan_and_the_seeds_give(
    dealer: Dealer, fast: MaterialOrder, weight_prgs: tuple[Prg, Prg], tiny_folder: Path
) -> None:
    """Each party streams its part of the plan's material under the leased seeds, of the plan's length; once."""
    plan = make_plan(load_program(tiny_folder), OBJECTIVES["wan"])
    leases = [dealer.lease(fast, party) for party in (0, 1)]
    assert {lease.plan_sha256 for lease in leases} == {plan.digest}
    assert tuple(lease.material_bytes for lease in leases) == plan.material
    with ThreadPoolExecutor(2) as pool:  # dealt once for both, as both read
        streamed = list(pool.map(lambda party: b"".join(map(bytes, dealer.stream(SESSION, party))), (0, 1)))
    dealt = list(deal_plan(plan, SESSION, [lease.seed for lease in leases], weight_masks(plan, weight_prgs)))
    assert streamed == [b"".join(step.sent[party] for step in dealt) for party in (0, 1)]
    for party in (0, 1):
        with pytest.raises(SessionUnknown):  # both have all of theirs: the order is forgotten
            next(dealer.stream(SESSION, party))


def test_a_weight_mask_serves_one_set_of_weights(dealer: Dealer, fast: MaterialOrder, digest: bytes) -> None:
    """Each party gets its seed of a mask once; another model under it, or material for no mask, is refused."""
    with pytest.raises(SessionReplayed):
        dealer.lease_weight_mask(MASK, digest, MANIFEST, 0)
    with pytest.raises(ProgramMismatch, match="same weight mask"):
        dealer.lease_weight_mask(MASK, digest, bytes(32), 0)
    with pytest.raises(WeightMaskUnknown):
        dealer.lease(replace(fast, weight_mask_id=bytes(16)), 0)
    other = bytes(reversed(MASK))
    assert len({dealer.lease_weight_mask(other, digest, MANIFEST, party) for party in (0, 1)}) == 2


def test_material_needs_a_weight_mask_of_both_parties(dealer: Dealer, fast: MaterialOrder, digest: bytes) -> None:
    """A mask that was forgotten between the two parties' leases is none: nothing is dealt under half of it."""
    half = bytes(reversed(MASK))
    dealer.lease_weight_mask(half, digest, MANIFEST, 1)
    with pytest.raises(WeightMaskUnknown):
        dealer.lease(replace(fast, weight_mask_id=half), 1)


def test_a_stream_needs_a_lease(dealer: Dealer, stock: MaterialOrder) -> None:
    """Nobody gets the material of a session that is not theirs."""
    with pytest.raises(SessionUnknown):
        next(dealer.stream(SESSION, 1))
    dealer.lease(stock, 0)
    with pytest.raises(SessionUnknown):
        next(dealer.stream(SESSION, 1))
    with pytest.raises(NotAllowed):
        dealer.lease(stock, 2)


@pytest.mark.parametrize(
    "change", [{"model_version": "2"}, {"parties": 3}, {"engine": EngineName.FAST}, {"objective": "lan"}]
)
def test_all_parties_must_ask_for_the_same(dealer: Dealer, stock: MaterialOrder, change: dict) -> None:
    """An unknown program, and another order for one session, are refused."""
    with pytest.raises(ProgramMismatch, match="'programs'"):
        dealer.lease(replace(stock, program_sha256=bytes(32)), 0)
    dealer.lease(stock, 0)
    with pytest.raises(ProgramMismatch, match="same material"):
        dealer.lease(replace(stock, **change), 1)


def test_the_fast_engine_is_for_two_parties(dealer: Dealer, fast: MaterialOrder) -> None:
    """Three parties are told which engine serves them."""
    with pytest.raises(ConfigError, match="engine: stock"):
        dealer.lease(replace(fast, parties=3), 0)


def test_a_restarted_dealer_knows_used_sessions(tiny_folder: Path, tmp_path: Path, stock: MaterialOrder) -> None:
    """After a restart an old session id is a replay."""
    _dealer(tiny_folder, tmp_path).lease(stock, 0)
    with pytest.raises(SessionReplayed):
        _dealer(tiny_folder, tmp_path).lease(stock, 0)


def test_every_lease_is_random(tiny_folder: Path, tmp_path: Path, stock: MaterialOrder) -> None:
    """The same order at two dealers, and two orders at one, have nothing in common: no root is behind them."""
    one, other = (_dealer(tiny_folder, tmp_path / name) for name in "ab")
    orders = [stock, replace(stock, material_id=bytes(16))]
    leases = [dealer.lease(order, party) for dealer in (one, other) for order in orders for party in (0, 1)]
    assert len({lease.seed for lease in leases}) == 8
    assert len({lease.lease_id for lease in leases}) == 4


def _read(dealer: Dealer, material_id: bytes, parties: tuple[int, ...] = (0, 1)) -> list[bytes]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda party: b"".join(map(bytes, dealer.stream(material_id, party))), parties))


def test_seeds_are_erased_once_both_have_their_material(dealer: Dealer, fast: MaterialOrder) -> None:
    """The dealer that has dealt cannot deal again: what both parties got is not in its memory any more."""
    leases = [dealer.lease(fast, party) for party in (0, 1)]
    seeds = dealer._leases[SESSION].seeds
    assert [bytes(seed) for seed in seeds] == [lease.seed for lease in leases]
    _read(dealer, SESSION)
    assert not dealer._leases
    assert not any(map(any, seeds))
    assert dealer._ledger.state(SESSION.hex()) == "done"


@pytest.mark.parametrize("engine", [EngineName.FAST, EngineName.STOCK])
def test_a_lease_ends_in_time(tiny_folder: Path, tmp_path: Path, digest: bytes, engine: EngineName) -> None:
    """A lease that nobody streams is erased when it expires, without another call; a stream on its way ends, too."""
    dealer = _dealer(tiny_folder, tmp_path, lease_s=0.2)
    for party in (0, 1):
        dealer.lease_weight_mask(MASK, digest, MANIFEST, party)
    orders = [MaterialOrder(bytes([number] * 16), digest, "1", 2, engine, "wan", MASK) for number in range(2)]
    for order in orders:
        for party in (0, 1):
            dealer.lease(order, party)
    seeds = [seed for leased in dealer._leases.values() for seed in leased.seeds]
    reading = dealer.stream(orders[1].material_id, 1)
    next(reading)
    deadline = time.monotonic() + 5
    while dealer._leases:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not any(map(any, seeds))
    assert dealer._ledger.state(orders[0].material_id.hex()) == "unused"
    with pytest.raises(SessionUnknown):
        next(dealer.stream(orders[0].material_id, 1))
    with pytest.raises(DealerLost, match="ended before"):
        list(reading)


def test_a_reader_who_goes_away_ends_the_lease(dealer: Dealer, stock: MaterialOrder) -> None:
    """Half a stream can never be finished: the lease is erased at once, not when it expires."""
    for party in (0, 1):
        dealer.lease(stock, party)
    reading = dealer.stream(SESSION, 1)
    next(reading)
    reading.close()
    assert not dealer._leases


def _orders(order: MaterialOrder, count: int) -> list[MaterialOrder]:
    return [replace(order, material_id=bytes([number] * 16)) for number in range(count)]


def test_a_party_holds_so_many_leases_and_no_more(tiny_folder: Path, tmp_path: Path, stock: MaterialOrder) -> None:
    """The oldest lease that it does not read makes room for another; if it reads all of them, OVERLOADED."""
    dealer = _dealer(tiny_folder, tmp_path, limits={"leases": 2})
    first, second, third, fourth = _orders(stock, 4)
    for order in (first, second, third):
        dealer.lease(order, 1)
    assert set(dealer._leases) == {second.material_id, third.material_id}
    with pytest.raises(SessionUnknown):
        next(dealer.stream(first.material_id, 1))
    reading = [dealer.stream(order.material_id, 1) for order in (second, third)]
    for stream in reading:
        next(stream)
    with pytest.raises(Overloaded, match="2 leases of party 1"):
        dealer.lease(fourth, 1)
    dealer.lease(fourth, 0)  # the other party does not suffer
    list(reading[0])
    dealer.lease(fourth, 1)


def test_streams_that_are_not_read_are_bounded(tiny_folder: Path, tmp_path: Path, stock: MaterialOrder) -> None:
    """Streams that outlive their leases still count."""
    dealer = _dealer(tiny_folder, tmp_path, limits={"leases": 2}, lease_s=0.1)
    stalled = []
    for order in _orders(stock, 2):
        dealer.lease(order, 1)
        stalled.append(dealer.stream(order.material_id, 1))
        next(stalled[-1])
    deadline = time.monotonic() + 5
    while dealer._leases:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    dealer.lease(stock, 1)
    with pytest.raises(Overloaded, match="2 streams of party 1"):
        next(dealer.stream(SESSION, 1))
    stalled.pop().close()
    assert next(dealer.stream(SESSION, 1))


def test_little_is_dealt_ahead_of_the_slower_party(tiny_folder: Path, weight_prgs: tuple[Prg, Prg]) -> None:
    """One party alone gets its material until the other is a backlog behind; then it waits, and not for ever."""
    plan = make_plan(load_program(tiny_folder), OBJECTIVES["wan"])
    backlog = 10_000
    assert max(step.protocol.material()[1] for step in plan.steps) < max(plan.material) - backlog
    dealing = FastDealing(plan, SESSION, [bytes(32)] * 2, weight_masks(plan, weight_prgs), 0.1, backlog)
    with pytest.raises(DealerTimeout, match="party 0 not reading"):
        list(dealing.stream(1))
    waiting = sum(map(len, dealing._backlog[0]))
    assert backlog <= waiting < backlog + max(step.protocol.material()[0] for step in plan.steps)


def test_few_weight_masks_are_remembered(tiny_folder: Path, tmp_path: Path, fast: MaterialOrder, digest: bytes) -> None:
    """The one that was not used for longest is forgotten; its material is WEIGHT_MASK_UNKNOWN, as parties expect."""
    dealer = _dealer(tiny_folder, tmp_path, limits={"weight_masks": 2})
    masks = [bytes([number] * 16) for number in range(3)]
    for number, mask in enumerate(masks[:2]):
        for party in (0, 1):
            dealer.lease_weight_mask(mask, digest, bytes([number] * 32), party)
    dealer.lease(replace(fast, weight_mask_id=masks[0]), 0)
    dealer.lease_weight_mask(masks[2], digest, MANIFEST, 0)
    with pytest.raises(WeightMaskUnknown):
        dealer.lease(replace(fast, material_id=bytes(16), weight_mask_id=masks[1]), 0)
    dealer.lease(replace(fast, material_id=bytes(16), weight_mask_id=masks[0]), 0)


def test_a_new_weight_mask_replaces_the_old(dealer: Dealer, fast: MaterialOrder, digest: bytes) -> None:
    """When both parties have opened their weights again, the seeds of the mask before are not kept."""
    other = bytes(reversed(MASK))
    dealer.lease(fast, 0)
    dealer.lease_weight_mask(other, digest, MANIFEST, 0)
    dealer.lease(replace(fast, material_id=bytes(16)), 0)  # party 1 may still use the old one
    dealer.lease_weight_mask(other, digest, MANIFEST, 1)
    assert dealer._weight_masks.ids == [other]
    with pytest.raises(WeightMaskUnknown):
        dealer.lease(replace(fast, material_id=bytes([1] * 16)), 0)
