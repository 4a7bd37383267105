"""Which of several versions a client gets, also while the parties change from one to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from mpcvit.client.choice import choose
from mpcvit.client.transport import Offer
from mpcvit.errors import BudgetUnknown, ModelMismatch
from mpcvit.wire.budget import BudgetCost
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import ANYBODY
from tests.support.stand_in import MANIFEST

ONE, TWO = MANIFEST, replace(MANIFEST, version="2", share_set="ce" * 16)
OTHER = replace(MANIFEST, name="other")


def _choose(party0: list[Manifest], party1: list[Manifest], model: str | None, pin: Manifest | None = None) -> Manifest:
    offers = [[Offer(manifest, b"") for manifest in served] for served in (party0, party1)]
    return choose(offers, model, {} if pin is None else {pin.name: pin.digest.hex()}, ANYBODY)


def test_the_version_that_party_0_lists_first_is_taken() -> None:
    """Whatever party 1's order is: it may change a moment later."""
    for others in ([ONE, TWO], [TWO, ONE]):
        assert _choose([ONE, TWO], others, "tiny") == ONE
        assert _choose([TWO, ONE], others, "tiny") == TWO
        assert _choose([TWO, ONE], others, None) == TWO


def test_a_version_that_one_party_does_not_have_is_not_taken() -> None:
    """Party 0 restarted with the new version, or party 1 without it."""
    assert _choose([TWO, ONE], [ONE], "tiny") == ONE
    assert _choose([ONE], [TWO, ONE], "tiny") == ONE
    with pytest.raises(ModelMismatch, match="served differently"):
        _choose([TWO], [ONE], "tiny")


def test_a_version_may_be_asked_for() -> None:
    """And is that one or none."""
    assert _choose([ONE, TWO], [ONE, TWO], "tiny:2") == TWO
    with pytest.raises(ModelMismatch, match="'tiny:3'"):
        _choose([ONE, TWO], [ONE, TWO], "tiny:3")
    with pytest.raises(ModelMismatch, match="'tiny:2' served differently"):
        _choose([ONE, TWO], [ONE], "tiny:2")
    with pytest.raises(ModelMismatch, match="2 models: other, tiny"):
        _choose([ONE, OTHER], [ONE, OTHER], None)


def test_a_pin_decides_between_versions() -> None:
    """A client that pins the old one keeps it until it is gone."""
    assert _choose([TWO, ONE], [TWO, ONE], "tiny", pin=ONE) == ONE
    with pytest.raises(ModelMismatch, match="the pinned digest"):
        _choose([TWO], [TWO], "tiny", pin=ONE)
    with pytest.raises(ModelMismatch, match="the pinned digest"):
        _choose([TWO, ONE], [TWO, ONE], "tiny:2", pin=ONE)


FAST = replace(
    ONE,
    budget="fast",
    views_sha256="ab" * 32,
    programs=tuple(
        BudgetCost(budget=budget, program_sha256=ONE.program_sha256, rounds=1, bytes_sent=2, material_bytes=3)
        for budget in ("full", "fast")
    ),
)


def _budget(
    party0: list[Manifest], party1: list[Manifest], budget: str | None, pins: Mapping[str, str] = MappingProxyType({})
) -> Manifest:
    offers = [[Offer(manifest, b"") for manifest in served] for served in (party0, party1)]
    return choose(offers, None, pins, ANYBODY, budget)


def test_the_client_chooses_the_budget() -> None:
    """None is the whole model, whatever the order; a budget that not all parties serve is none."""
    served = [FAST, ONE]
    assert _budget(served, served, "fast") == FAST
    assert _budget(served, served, None) == _budget(served, served, "full") == ONE
    for party1 in ([ONE], [ONE, replace(FAST, views_sha256="cd" * 32)]):
        with pytest.raises(BudgetUnknown, match="budget 'fast' of model 'tiny'; expected one of full"):
            _budget(served, party1, "fast")
    with pytest.raises(BudgetUnknown, match="'slow' of model 'tiny'; expected one of fast, full"):
        _budget(served, served, "slow")
    with pytest.raises(BudgetUnknown, match="expected one of full"):
        _budget([TWO, *served], [TWO, *served], "fast")  # the active version has none


def test_a_pinned_model_needs_a_pin_for_its_budget() -> None:
    """The whole model's digest does not say what its budgets are."""
    served, pin = [ONE, FAST], {"tiny": ONE.digest.hex()}
    assert _budget(served, served, None, pin) == ONE
    with pytest.raises(ModelMismatch, match="a pin for 'tiny@fast'"):
        _budget(served, served, "fast", pin)
    assert _budget(served, served, "fast", {**pin, "tiny@fast": FAST.digest.hex()}) == FAST
    with pytest.raises(ModelMismatch, match="the pinned digest"):
        _budget(served, served, "fast", {"tiny@fast": "0" * 64})
