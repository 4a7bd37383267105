"""Which of several versions a client gets, also while the parties change from one to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpcvit.client.choice import choose
from mpcvit.client.transport import Offer
from mpcvit.errors import ModelMismatch
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
