"""The dealer without its network face."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mpcvit.errors import (
    ConfigError,
    NotAllowed,
    ProgramMismatch,
    SessionReplayed,
    SessionUnknown,
    WeightMaskUnknown,
)
from mpcvit.program.dealer import corrections
from mpcvit.program.fast_dealer import deal_plan, weight_masks
from mpcvit.program.files import load_program
from mpcvit.program.objective import OBJECTIVES
from mpcvit.program.plan import make_plan
from mpcvit.ring.prg import Prg
from parties.dealer import Dealer, Order
from parties.settings import DealerSettings, EngineName

SESSION = bytes(range(16))
MASK = bytes(range(16, 32))
MANIFEST = bytes(range(32))


def _dealer(folder: Path, state: Path) -> Dealer:
    settings = DealerSettings(
        listen={"party": "x:1", "health": "x:2"},
        tls={"ca": "a", "cert": "b", "key": "c"},
        programs=[folder],
        state=state,
    )
    return Dealer(settings)


@pytest.fixture
def dealer(tiny_folder: Path, tmp_path: Path) -> Dealer:
    """A dealer for the tiny program."""
    return _dealer(tiny_folder, tmp_path / "state")


@pytest.fixture
def digest(tiny_folder: Path) -> bytes:
    """The tiny program's digest."""
    return bytes.fromhex(load_program(tiny_folder).digest)


@pytest.fixture
def stock(digest: bytes) -> Order:
    """Material for one session of the stock engine."""
    return Order(SESSION, digest, "1", 2, EngineName.STOCK, "", b"")


@pytest.fixture
def weight_prgs(dealer: Dealer, digest: bytes) -> tuple[Prg, Prg]:
    """What both parties have opened their weights with."""
    first, second = (dealer.lease_weight_mask(MASK, digest, MANIFEST, party) for party in (0, 1))
    return Prg(first), Prg(second)


@pytest.fixture
def fast(weight_prgs: tuple[Prg, Prg], digest: bytes) -> Order:
    """Material for one session of the fast engine; both parties have opened their weights."""
    return Order(SESSION, digest, "1", 2, EngineName.FAST, "wan", MASK)


def test_each_party_leases_once(dealer: Dealer, stock: Order) -> None:
    """Parties share the lease id, not the seed; a second lease of either is a replay."""
    first = [dealer.lease(stock, party) for party in (0, 1)]
    assert first[0].lease_id == first[1].lease_id
    assert first[0].seed != first[1].seed
    assert first[0].material_bytes == 0 < first[1].material_bytes
    for party in (0, 1):
        with pytest.raises(SessionReplayed):
            dealer.lease(stock, party)
    assert dealer.lease(replace(stock, material_id=bytes(16)), 0).seed != first[0].seed


def test_corrections_are_what_the_seeds_give(dealer: Dealer, stock: Order, tiny_folder: Path) -> None:
    """The stock stream is the last party's corrections under the leased seeds, of the announced length; once."""
    leases = [dealer.lease(stock, party) for party in (0, 1)]
    streamed = b"".join(map(bytes, dealer.stream(SESSION, 1)))
    expected = b"".join(map(bytes, corrections(load_program(tiny_folder), [lease.seed for lease in leases])))
    assert streamed == expected
    assert len(streamed) == leases[1].material_bytes
    with pytest.raises(SessionReplayed):
        next(dealer.stream(SESSION, 1))


def test_fast_material_is_what_the_plan_and_the_seeds_give(
    dealer: Dealer, fast: Order, weight_prgs: tuple[Prg, Prg], tiny_folder: Path
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


def test_spare_masks_need_the_lease(dealer: Dealer, fast: Order, tiny_folder: Path) -> None:
    """Spare masks for an ambiguous opening and its readers: for the lease's holders, and not without limit."""
    plan = make_plan(load_program(tiny_folder), OBJECTIVES["wan"])
    (name, *_) = (step.name for step in plan.steps if step.protocol.reopen_probability())
    lease = dealer.lease(fast, 1)
    once = dict(dealer.redeal(fast, lease.lease_id, 1, {name: 1}, [name]))
    twice = dict(dealer.redeal(fast, lease.lease_id, 1, {name: 2}, [name]))
    assert name in once
    assert once.keys() == twice.keys()
    assert once[name] != twice[name]
    with pytest.raises(SessionUnknown):
        next(dealer.redeal(fast, bytes(16), 1, {name: 1}, [name]))
    for attempts, ambiguous in (({name: 1}, []), ({}, [name]), ({name: 99}, [name])):
        with pytest.raises(NotAllowed):
            next(dealer.redeal(fast, lease.lease_id, 1, attempts, ambiguous))


def test_a_weight_mask_serves_one_set_of_weights(dealer: Dealer, fast: Order, digest: bytes) -> None:
    """Each party gets its seed of a mask once; another model under it, or material for no mask, is refused."""
    with pytest.raises(SessionReplayed):
        dealer.lease_weight_mask(MASK, digest, MANIFEST, 0)
    with pytest.raises(ProgramMismatch, match="same weight mask"):
        dealer.lease_weight_mask(MASK, digest, bytes(32), 0)
    with pytest.raises(WeightMaskUnknown):
        dealer.lease(replace(fast, weight_mask_id=bytes(16)), 0)
    other = bytes(reversed(MASK))
    assert len({dealer.lease_weight_mask(other, digest, MANIFEST, party) for party in (0, 1)}) == 2


def test_a_stream_needs_a_lease(dealer: Dealer, stock: Order) -> None:
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
def test_all_parties_must_ask_for_the_same(dealer: Dealer, stock: Order, change: dict) -> None:
    """An unknown program, and another order for one session, are refused."""
    with pytest.raises(ProgramMismatch, match="'programs'"):
        dealer.lease(replace(stock, program_sha256=bytes(32)), 0)
    dealer.lease(stock, 0)
    with pytest.raises(ProgramMismatch, match="same material"):
        dealer.lease(replace(stock, **change), 1)


def test_the_fast_engine_is_for_two_parties(dealer: Dealer, fast: Order) -> None:
    """Three parties are told which engine serves them."""
    with pytest.raises(ConfigError, match="engine: stock"):
        dealer.lease(replace(fast, parties=3), 0)


def test_a_restarted_dealer_knows_used_sessions_and_has_a_new_root(
    tiny_folder: Path, tmp_path: Path, stock: Order
) -> None:
    """After a restart an old session id is a replay, and no stream repeats."""
    old = _dealer(tiny_folder, tmp_path / "a").lease(stock, 0)
    with pytest.raises(SessionReplayed):
        _dealer(tiny_folder, tmp_path / "a").lease(stock, 0)
    new = _dealer(tiny_folder, tmp_path / "b").lease(stock, 0)
    assert old.lease_id != new.lease_id
    assert old.seed != new.seed
