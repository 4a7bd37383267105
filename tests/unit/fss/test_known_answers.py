"""Keys that do not change: parties and dealers of different versions understand each other by them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.known_answers import KeyVector, Vector, load

KEYS = load("fss_keys")
TAMPERED = [(vector, change) for vector in KEYS for change in vector["tampered"]]


@pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector["name"])
def test_keys_and_shares_are_the_committed_ones(vector: Vector) -> None:
    """The dealer's keys and both parties' shares, byte for byte."""
    assert KeyVector(vector["given"]).answer() == vector["answer"]


@pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector["name"])
def test_results_are_right(vector: Vector) -> None:
    """The committed results are what the functions say: [point < secret], times the payload, or the payload's place."""
    given = vector["given"]
    secrets, points = (np.array(given[name], dtype=np.uint64) for name in ("secrets", "points"))
    result = np.array(vector["answer"]["result"], dtype=np.uint64)
    if given["kind"] == "compare":
        assert (result == (points < secrets)).all()
        return
    payload = np.array(given["payload"], dtype=np.uint64)
    if given["kind"] == "dcf":
        assert (result == (points < secrets)[..., None] * payload).all()
        return
    places = np.arange(1 << given["bits"], dtype=np.uint64) == secrets[:, None]
    assert (result == places[:, None] * payload[..., None]).all()


@pytest.mark.parametrize(
    ("vector", "change"), TAMPERED, ids=[f"{one['name']} {i}" for i, (one, _) in enumerate(TAMPERED)]
)
def test_tampered_keys_give_what_they_gave(vector: Vector, change: Vector) -> None:
    """A flipped bit gives another result, the same as ever; a key cut short is a typed error."""
    given = vector["given"]
    answer = KeyVector(given).tampered(vector["answer"]["keys"], change)
    assert answer == change["answer"]
    assert answer != {"result": vector["answer"]["result"]}
    assert ("error" in answer) == (change["change"] == "cut")


def test_every_part_of_a_key_is_tampered_with() -> None:
    """Both ways."""
    for vector in KEYS:
        tried = {(change["part"], change["change"]) for change in vector["tampered"]}
        assert tried == {(part, way) for part in range(len(vector["answer"]["keys"])) for way in ("cut", "flip")}
