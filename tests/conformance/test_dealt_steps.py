"""Dealt steps that do not change: a dealer and parties of different versions understand each other by them."""

from __future__ import annotations

import pytest

from mpcvit.engines.masked.protocol import Protocol
from tests.support.known_answers import StepVector, Vector, load

STEPS = load("dealt_steps")


@pytest.mark.parametrize("vector", STEPS, ids=lambda vector: vector["name"])
def test_material_and_shares_are_the_committed_ones(vector: Vector) -> None:
    """The plan's digest, the material of every step and both parties' shares of the result, byte for byte."""
    assert vector["answer"]["trusted"]
    assert StepVector(vector["given"]).answer() == vector["answer"]


@pytest.mark.parametrize("vector", STEPS, ids=lambda vector: vector["name"])
def test_tampered_material_gives_what_it_gave(vector: Vector) -> None:
    """A flipped bit gives a wrong result, a guard that fails, or a typed error, the same as ever; a cut, DealerLost."""
    step = StepVector(vector["given"])
    for change in vector["tampered"]:
        answer = step.tampered(vector["answer"]["material"], change)
        assert answer == change["answer"], change
        assert answer != {"output": vector["answer"]["output"], "trusted": True}
        if change["change"] == "cut":
            assert answer == {"error": "DealerLost"}


def test_guards_notice_tampered_keys() -> None:
    """Where a step has a guard, flipped bits of its keys never give a trusted answer."""
    guarded = [vector for vector in STEPS if "guard" in vector["name"].lower()]
    assert len(guarded) == 4
    for vector in guarded:
        flips = [one for one in vector["tampered"] if one["step"] == "op" and one["change"] == "flip"]
        assert len(flips) == 2
        assert not any(one["answer"]["trusted"] for one in flips)


def test_every_protocol_has_a_vector() -> None:
    """No way to run an op is without one."""
    dealt = {type(step.protocol) for vector in STEPS for step in StepVector(vector["given"]).plan.steps}
    assert dealt == set(_concrete(Protocol))


def _concrete(base: type[Protocol]) -> list[type[Protocol]]:
    below = [one for child in base.__subclasses__() for one in _concrete(child)]
    named = base.__module__.startswith("mpcvit.") and not base.__abstractmethods__
    return [base, *below] if named else below
