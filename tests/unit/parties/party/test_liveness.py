"""Signs of life of another role."""

from __future__ import annotations

import queue
from collections.abc import Callable

import pytest

from mpcvit.errors import InternalError, MpcvitError, NotAllowed, Overloaded, PeerLost, PeerTimeout
from parties.party.liveness import Monitor


class Role:
    """A role whose answers a test decides; the last answer stays."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.lost: queue.SimpleQueue[MpcvitError] = queue.SimpleQueue()
        self.asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __call__(self, timeout_s: float) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.asked.put(None)
        if answer is not None:
            raise answer

    def monitor(self, start_s: float = 0.0) -> Monitor:
        """A monitor of it that has begun to ask."""
        monitor = Monitor("party1", self, stall_s=1, start_s=start_s, on_loss=self.lost.put)
        monitor.start()
        return monitor


def _gone(kind: Callable[..., MpcvitError] = PeerLost) -> MpcvitError:
    return kind("nobody", expected="somebody", remedy="Start it.")


def test_a_role_that_answers_is_there() -> None:
    """Nothing is lost before it was asked, nor after it answered."""
    role = Role(None)
    monitor = role.monitor()
    role.asked.get(timeout=5)
    role.asked.get(timeout=5)
    assert monitor.present
    monitor.require()
    assert monitor.silence_s < 5
    monitor.close()


def test_a_loss_is_told_once_and_ends_with_an_answer() -> None:
    """A connection may break for a moment; one that stays broken is a loss, told with a fresh error each time."""
    role = Role(None, _gone())
    monitor = role.monitor()
    assert role.lost.get(timeout=10).reason == "PEER_LOST"
    assert not monitor.present
    assert monitor.lost is not monitor.lost
    with pytest.raises(PeerLost, match="nobody"):
        monitor.require()
    role.answers = [None]
    while not monitor.present:
        role.asked.get(timeout=5)
    assert role.lost.empty()
    monitor.close()


def test_a_role_may_start_later_than_we_do() -> None:
    """Until then it is neither there nor lost."""
    role = Role(_gone())
    monitor = role.monitor(start_s=60)
    for _ in range(3):
        role.asked.get(timeout=5)
    assert monitor.lost is None
    assert not monitor.present
    monitor.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(_gone(NotAllowed), NotAllowed), (ValueError("secret"), InternalError)],
    ids=["refused", "unexpected"],
)
def test_what_waiting_does_not_mend_is_a_loss_at_once(answer: Exception, kind: type[MpcvitError]) -> None:
    """A role that refuses us does not come back by itself; nor does our own mistake, whose text stays here."""
    role = Role(None, answer)
    monitor = role.monitor(start_s=60)
    lost = role.lost.get(timeout=5)
    assert isinstance(lost, kind)
    assert "secret" not in str(lost)
    monitor.close()


def test_silence_for_the_stall_deadline_is_a_loss() -> None:
    """The question itself has waited as long."""
    role = Role(None, _gone(PeerTimeout))
    monitor = role.monitor()
    assert isinstance(role.lost.get(timeout=10), PeerTimeout)
    monitor.close()


def test_a_role_with_much_to_do_lives() -> None:
    """That it cannot answer now is a sign of life, but says nothing of its ledger or its version."""
    busy = _gone(Overloaded)
    role = Role(None, busy)
    monitor = role.monitor()
    for _ in range(3):
        role.asked.get(timeout=5)
    assert monitor.present
    assert role.lost.empty()
    role.answers = [_gone(NotAllowed)]
    assert role.lost.get(timeout=10).reason == "NOT_ALLOWED"
    role.answers = [busy]
    for _ in range(2):
        role.asked.get(timeout=5)
    assert isinstance(monitor.lost, NotAllowed)
    monitor.close()
    stranger = Role(busy).monitor()
    assert not stranger.present
    stranger.close()


def test_the_reason_is_the_latest() -> None:
    """A role that came back, but not as it was, is lost for what is wrong with it now; its loss is told once."""
    role = Role(None, _gone())
    monitor = role.monitor()
    assert role.lost.get(timeout=10).reason == "PEER_LOST"
    role.answers = [_gone(NotAllowed)]
    while not isinstance(monitor.lost, NotAllowed):
        role.asked.get(timeout=5)
    assert not monitor.present
    with pytest.raises(queue.Empty):
        role.lost.get(timeout=0.5)
    monitor.close()
