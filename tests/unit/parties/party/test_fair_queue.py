"""Whose turn it is."""

from __future__ import annotations

import pytest

from parties.party.fair_queue import FairQueue


def _order(queue: FairQueue[str]) -> str:
    return "".join(queue.pop() for _ in range(len(queue)))


def test_clients_take_turns() -> None:
    """One that brought much first waits behind itself; within a client the order is kept."""
    queue: FairQueue[str] = FairQueue(lambda client: 1)
    for item in "1234":
        queue.push("alice", item)
    queue.push("bob", "a")
    queue.push("carol", "x")
    queue.push("bob", "b")
    assert queue.first() == "1"
    assert sorted(queue) == sorted("1234abx")
    assert _order(queue) == "1ax2b34"
    assert queue.first() is None
    with pytest.raises(IndexError):
        queue.pop()


def test_weights_are_turns_of_that_length() -> None:
    """A client of weight 2 has two items served for one of the others."""
    queue: FairQueue[str] = FairQueue(lambda client: 2 if client == "alice" else 1)
    for item in "1234":
        queue.push("alice", item)
    for item in "abcd":
        queue.push("bob", item)
    assert _order(queue) == "12a34bcd"


def test_what_is_removed_is_nobody_s_turn() -> None:
    """The next of the same client moves up; a client without items is forgotten."""
    queue: FairQueue[str] = FairQueue(lambda client: 1)
    for client, item in (("alice", "1"), ("alice", "2"), ("bob", "a")):
        queue.push(client, item)
    queue.remove("alice", "1")
    queue.remove("carol", "9")
    queue.remove("bob", "9")
    assert _order(queue) == "2a"
    queue.push("bob", "b")
    queue.remove("bob", "b")
    assert len(queue) == 0
