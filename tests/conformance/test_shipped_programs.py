"""What is shipped stays what it is: digests, costs and logits of the models that come with the package."""

from __future__ import annotations

import pytest

from mpcvit import zoo
from tests.support.known_answers import Vector, load, shipped_answer

SHIPPED = load("shipped")


@pytest.mark.parametrize("vector", SHIPPED, ids=lambda vector: vector["name"])
def test_shipped_programs_are_the_committed_ones(vector: Vector) -> None:
    """Program and plans by digest, what they cost on either engine, the reference's logits of 20 pictures bit for bit.

    Parties that serve a model compare these digests with the dealer's and with the client's: another one is another
    model.
    """
    assert shipped_answer(vector["name"]) == vector["answer"]


def test_every_shipped_model_has_a_vector() -> None:
    """No model is without one."""
    assert sorted(vector["name"] for vector in SHIPPED) == sorted(zoo.names())
