"""Deadlines of calls."""

from __future__ import annotations

import threading
import time
from unittest.mock import Mock

import grpc

from parties.common.deadline import Stall, deadline


def test_a_call_that_stalls_is_cancelled() -> None:
    """Only if it takes longer than it may."""
    for seconds, slow in ((60, False), (0.01, True)):
        context, cancelled = Mock(spec=grpc.ServicerContext), threading.Event()
        context.cancel.side_effect = cancelled.set
        with deadline(context, seconds):
            assert cancelled.wait(5) if slow else not cancelled.wait(0.02)
        assert context.cancel.called is slow


def test_what_moves_may_take_long_and_what_stalls_is_ended_once() -> None:
    """Progress puts the end off; without it the end comes, once."""
    ends: list[None] = []
    ended = threading.Event()

    def end() -> None:
        ends.append(None)
        ended.set()

    with Stall(end, 0.5) as stall:
        for _ in range(8):
            time.sleep(0.1)
            stall.moved()
        assert not stall.stalled
        assert ended.wait(5)
        assert stall.stalled
    with Stall(end, 0.05):
        pass
    time.sleep(0.1)
    assert len(ends) == 1
