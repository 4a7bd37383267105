"""Two fast engines on a dealer: attempts at a session, and what the dealer hears of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.engines.masked.plan_material import PlanMaterial
from mpcvit.engines.masked.wires import AmbiguousOpening
from mpcvit.errors import AttemptsExhausted, Overloaded, WeightMaskUnknown
from mpcvit.export.vit import INPUT
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.v1 import dealer_pb2, peer_pb2
from tests.support.engines import EnginePair, burned, widened
from tests.support.images import make_images, pixel_codes
from tests.support.models import TINY


@pytest.fixture
def pair(tiny_folder: Path, tmp_path: Path) -> Iterator[EnginePair]:
    """Engines for the tiny model."""
    with EnginePair(tiny_folder, tmp_path) as running:
        yield running


@pytest.fixture
def wide_pair(tiny_folder: Path, tmp_path: Path) -> Iterator[EnginePair]:
    """Engines for the tiny model with wide ranges: almost every other inference has an ambiguous opening."""
    with EnginePair(widened(tiny_folder, tmp_path / "wide"), tmp_path) as running:
        yield running


def _codes() -> Codes:
    return pixel_codes(make_images(TINY, 1, seed=9)[0])


def test_a_session_goes_on_after_an_ambiguous_opening(wide_pair: EnginePair) -> None:
    """It takes other material, burned at both parties, until an attempt succeeds; what it cost adds up."""
    codes = _codes()
    expected = run_reference(wide_pair.model.program, wide_pair.model.weights, {INPUT: codes[None]})[0]
    declared = fast_cost(make_plan(wide_pair.model.program, DEFAULT_OBJECTIVE)).total
    repeated, before = 0, 0
    for _ in range(40):
        result, finished = wide_pair.infer(codes)
        assert np.abs(result - expected).max() < 0.05 * 2.0 ** wide_pair.model.program.types["logits"].frac
        used = [burned(ledger) for ledger in wide_pair.ledgers]
        assert used[0].keys() == used[1].keys()
        assert {state for one in used for state in one.values()} == {"used"}
        attempts, before = len(used[0]) - before, len(used[0])
        for party, one in enumerate(finished):
            assert one.stats.material_bytes == attempts * declared.material_bytes[party]
            assert one.stats.offline_s > 0
            if attempts == 1:
                assert (one.stats.rounds, one.stats.bytes_sent) == (declared.rounds, declared.bytes_sent[party])
            else:
                assert declared.rounds < one.stats.rounds <= attempts * declared.rounds
                assert declared.bytes_sent[party] < one.stats.bytes_sent <= attempts * declared.bytes_sent[party]
        repeated += attempts > 1
        if repeated > 2 and before > 6:
            break
    assert repeated > 2
    assert all(wide_pair.dealer._ledger.state(material) == "done" for material in used[0])


def test_the_dealer_cannot_tell_another_attempt_from_another_session(wide_pair: EnginePair) -> None:
    """One session of two attempts and two sessions of one: the same calls, with the same content but for random ids."""
    codes, views = _codes(), {}
    wide_pair.wait_full()
    for _ in range(60):
        for connection in wide_pair.connections:
            connection.heard.clear()
        used = len(burned(wide_pair.ledgers[0]))
        wide_pair.infer(codes)
        wide_pair.wait_full()
        attempts = len(burned(wide_pair.ledgers[0])) - used
        views.setdefault(attempts, []).append([list(connection.heard) for connection in wide_pair.connections])
        if {1, 2} <= views.keys() and len(views[1]) > 1:
            break
    twice = [first + second for first, second in zip(*views[1][:2], strict=True)]
    assert views[2][0] == twice
    assert {call for view in twice for call, _ in view} == {"lease", "stream"}


def test_there_is_no_call_for_what_happens_while_a_session_runs() -> None:
    """A dealer, however it draws its seeds, hears of what is to be used later, and that a party lives."""
    (service,) = dealer_pb2.DESCRIPTOR.services_by_name.values()
    before = {"LeaseMaterial", "StreamMaterial", "ReleaseMaterial", "LeaseWeightMask"}
    assert {method.name for method in service.methods} == {"CheckDealer", *before}
    assert PlanMaterial.__abstractmethods__ == {"seed", "session", "read"}


def test_attempts_end(pair: EnginePair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An opening that is always ambiguous is an error at both parties, after a number of attempts."""

    def ambiguous(*_: object) -> Codes:
        raise AmbiguousOpening

    monkeypatch.setattr("parties.party.masked.engine.run_fast", ambiguous)
    with pytest.raises(AttemptsExhausted, match="8 attempts"):
        pair.infer(_codes())
    for ledger in pair.ledgers:
        assert list(burned(ledger).values()) == ["used"] * 8


def test_a_leader_that_stalls_holds_no_lock(pair: EnginePair) -> None:
    """While masked weights do not come, party 1 answers everybody else at once, and keeps the weights that it has."""
    pair.wait_full()
    stalled, go_on = threading.Event(), threading.Event()
    weights = peer_pb2.WeightMask(
        model_name=pair.share.manifest.name, manifest_sha256=pair.share.manifest.digest, weight_mask_id=bytes(16)
    )

    def requests() -> Iterator[peer_pb2.OpenWeightsRequest]:
        yield peer_pb2.OpenWeightsRequest(weights=weights)
        stalled.set()
        go_on.wait(20)

    stalling = threading.Thread(target=_drain, args=(pair.engines[1].role.answer_weights(requests()),))
    stalling.start()
    assert stalled.wait(10)
    plan = make_plan(pair.model.program, DEFAULT_OBJECTIVE)
    asked = peer_pb2.PrepareMaterialRequest(weights=weights, material_id=bytes(16), plan_sha256=plan.digest)
    with pytest.raises(WeightMaskUnknown):
        pair.engines[1].role.prepare(asked)
    pair.infer(_codes())
    go_on.set()
    stalling.join(10)
    assert not stalling.is_alive()


def _drain(answer: Iterator[bytes]) -> None:
    with pytest.raises(Exception, match="bytes"):  # the stream ends before all weights came
        list(answer)


def test_material_that_no_session_can_use_is_refused(pair: EnginePair) -> None:
    """A leader that prepares more and more is OVERLOADED by what waits at party 1."""
    pair.wait_full()
    follower, model = pair.engines[1].role, pair.engines[1]._models[pair.share.manifest.key]
    most = pair.settings.pool.sessions + pair.settings.limits.sessions + pair.settings.limits.queue
    waiting = follower.waiting[model.key]
    (material,) = waiting.values()
    waiting |= {bytes([number] * 16): material for number in range(most - 1)}
    request = peer_pb2.PrepareMaterialRequest(
        weights=peer_pb2.WeightMask(
            model_name=pair.share.manifest.name,
            manifest_sha256=pair.share.manifest.digest,
            weight_mask_id=model.opened.mask_id,
        ),
        material_id=bytes([99] * 16),
        plan_sha256=model.plan.digest,
        kept=list(waiting),
    )
    with pytest.raises(Overloaded, match=f"{most} sessions' material"):
        follower.prepare(request)
