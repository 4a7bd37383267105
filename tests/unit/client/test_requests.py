"""Batches, retries, cancellation and the client for asyncio, against parties that answer in clear."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from mpcvit.client import AsyncClient, Client, MockTransport, Offer, Submission
from mpcvit.client.backoff import Backoff
from mpcvit.client.base import BaseClient
from mpcvit.client.transport import OnProgress
from mpcvit.errors import (
    InputError,
    MaterialExhausted,
    MpcvitError,
    NotAllowed,
    Overloaded,
    SessionCancelled,
    SessionError,
)
from tests.support.stand_in import MANIFEST, PIXELS, first_values

WAIT_S = 20.0
PICTURES = [np.full((8, 8, 3), value, dtype=np.uint8) for value in range(0, 200, 20)]


def _overloaded(retry_after_s: float = 0.01) -> Overloaded:
    return Overloaded("a full queue", expected="room", remedy="Wait.", retry_after_s=retry_after_s)


class Watched(MockTransport):
    """Fake parties that keep what was submitted, fetched at the same time, and cancelled."""

    submitted: ClassVar[list[tuple[int, bytes]]]
    cancelled_at: ClassVar[list[tuple[int, bytes]]]
    running: ClassVar[set[bytes]]
    most: ClassVar[int]

    @classmethod
    def make(cls, handler: Callable = first_values) -> list[MockTransport]:
        cls.submitted, cls.cancelled_at, cls.running, cls.most = [], [], set(), 0
        return cls.parties(MANIFEST, handler)

    def submit(self, submission: Submission, deadline: float) -> None:
        self.submitted.append((self._index, submission.spec.session_id))
        super().submit(submission, deadline)

    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
        with self._changed:
            self.running.add(session_id)
            type(self).most = max(self.most, len(self.running))
        try:
            return super().fetch(session_id, deadline, progress)
        finally:
            with self._changed:
                self.running.discard(session_id)

    def cancel(self, session_id: bytes) -> None:
        self.cancelled_at.append((self._index, session_id))
        super().cancel(session_id)


class Endless(Watched):
    """Parties that compute until they are told to stop."""

    def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
        with self._changed:
            self.running.add(session_id)
            self._changed.notify_all()
            self._changed.wait_for(lambda: session_id in self._cancelled, timeout=WAIT_S)
        raise SessionCancelled("a cancelled session", expected="a running one", remedy="Submit again.")

    def started(self, sessions: int = 1) -> None:
        """Block until so many sessions run."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.running) >= sessions, timeout=WAIT_S)


def _refusing(times: int, error: Callable[[], MpcvitError] = _overloaded) -> list[MockTransport]:
    """Parties of which number 0 refuses the first ``times`` sessions."""

    class Refusing(Watched):
        def submit(self, submission: Submission, deadline: float) -> None:
            sessions = {session for party, session in self.submitted if party == 0}
            super().submit(submission, deadline)
            if self._index == 0 and len(sessions) < times:
                raise error()

    return Refusing.make()


def test_both_clients_offer_the_same() -> None:
    """What the one has, the other has, with the same arguments."""
    import inspect

    for name in ("infer", "infer_each", "infer_many", "models", "close", "from_config"):
        of = [list(inspect.signature(getattr(kind, name)).parameters) for kind in (Client, AsyncClient)]
        assert of[0] == of[1], name
    with pytest.raises(TypeError, match="colour"):
        Client(Watched.make()).infer(PIXELS, colour="red")
    assert not [name for name in vars(BaseClient) if not name.startswith("_") and name != "from_config"]


def _answers(pictures: list[object], concurrency: int) -> Iterator[list[object]]:
    """Answers of both clients to the same pictures."""
    with Client(Watched.make()) as client:
        yield client.infer_many(pictures, concurrency=concurrency)

    async def run() -> list[object]:
        async with AsyncClient(Watched.make()) as client:
            return await client.infer_many(pictures, concurrency=concurrency)

    yield asyncio.run(run())


def test_a_batch_keeps_its_order_and_its_failures() -> None:
    """One answer per picture, in order; what has none is an error in its place; no more sessions than allowed."""
    file = io.BytesIO()
    Image.fromarray(PICTURES[2]).save(file, "PNG")
    pictures = [*PICTURES[:2], file.getvalue(), b"no picture", *PICTURES[3:]]
    for answers in _answers(pictures, concurrency=3):
        assert isinstance(answers.pop(3), InputError)
        assert [round(answer.logits[0] * 2**12) for answer in answers] == list(range(0, 200, 20))
        assert Watched.most <= 3


def test_a_batch_is_read_shortly_before_its_turn() -> None:
    """Endless batches work, and leaving one early gives up what runs."""
    taken = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(1)
            yield PIXELS

    with Client(Watched.make()) as client, closing(client.infer_each(endless(), concurrency=2)) as answers:
        assert next(answers).label == next(answers).label
        assert len(taken) <= 6

    async def run() -> None:
        async with (
            AsyncClient(Watched.make()) as client,
            aclosing(client.infer_each(endless(), concurrency=2)) as answers,
        ):
            assert (await anext(answers)).label == (await anext(answers)).label

    asyncio.run(run())


def test_only_errors_that_say_so_are_retried_and_in_new_sessions() -> None:
    """Two refusals and an answer: three sessions. A refusal that would repeat itself: one."""
    with Client(_refusing(2), retries=2) as client:
        answer = client.infer(io.BytesIO(_png(PIXELS)))
    sessions = {session for _, session in client._parties._transports[0].submitted}
    assert len(sessions) == 3
    assert bytes.fromhex(answer.session_id) in sessions
    with Client(_refusing(2)) as client, pytest.raises(Overloaded) as caught:
        client.infer(PIXELS, retries=1)
    assert len(caught.value.session_id) == 32
    with Client(_refusing(1)) as client, pytest.raises(Overloaded):
        client.infer(PIXELS)

    def lasting() -> NotAllowed:
        return NotAllowed("a stranger", expected="a friend", remedy="Go.")

    with Client(_refusing(1, lasting), retries=5) as client, pytest.raises(NotAllowed):
        client.infer(PIXELS)
    assert len({session for _, session in client._parties._transports[0].submitted}) == 1


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_refusal_by_one_party_cancels_the_share_at_the_others() -> None:
    """At once, although the others go on waiting."""

    class Refusing(Endless):
        def submit(self, submission: Submission, deadline: float) -> None:
            super().submit(submission, deadline)
            if self._index == 0:
                self.started()  # the other party waits for this one
                raise _overloaded()

    with Client(Refusing.make()) as client, pytest.raises(Overloaded):
        client.infer(PIXELS)
    assert (1, Refusing.submitted[0][1]) in Refusing.cancelled_at


def test_a_share_that_arrives_after_the_refusal_is_cancelled_too() -> None:
    """A party that was told before it had the share is told again, and its result is not asked for."""
    refused, told = threading.Event(), threading.Event()

    class Slow(Watched):
        def submit(self, submission: Submission, deadline: float) -> None:
            if self._index == 0:
                raise _overloaded()
            assert refused.wait(WAIT_S)
            super().submit(submission, deadline)

        def cancel(self, session_id: bytes) -> None:
            super().cancel(session_id)
            if self._index == 1 and self.submitted:
                told.set()

    with Client(Slow.make()) as client:
        with pytest.raises(Overloaded):
            client.infer(PIXELS)
        refused.set()
        assert told.wait(WAIT_S)
    assert not Slow.most


def test_pauses_grow_and_end_with_the_deadline() -> None:
    """At least what the error asks for, doubled at least each time; none that the deadline leaves no time for."""
    backoff = Backoff(20, time.monotonic() + 1000)
    pauses = [backoff.pause_s(_overloaded(0.0)) for _ in range(20)]
    assert all(0.1 * 2**n <= pause <= 0.1501 * 2**n for n, pause in enumerate(pauses[:7]))
    assert max(pauses) <= 15
    assert backoff.pause_s(_overloaded()) is None
    patient = Backoff(1, time.monotonic() + 1000)
    assert 60 <= patient.pause_s(_overloaded(60.0)) <= 90
    estimate = MaterialExhausted("none", expected="some", remedy="Wait.", retry_after_s=60.0)
    assert Backoff(9, time.monotonic() + 30).pause_s(estimate) is None


def test_cancelling_a_task_cancels_its_session_at_the_parties() -> None:
    """Of one inference, of a batch, and by a timeout."""

    async def run(start: Callable, sessions: int) -> None:
        async with AsyncClient(Endless.make()) as client:
            task = asyncio.create_task(start(client))
            await asyncio.to_thread(client._parties._transports[0].started, sessions)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run(lambda client: client.infer(PIXELS), 1))
    assert {party for party, _ in Endless.cancelled_at} == {0, 1}
    asyncio.run(run(lambda client: client.infer_many([PIXELS] * 8, concurrency=2), 2))
    assert len(set(Endless.cancelled_at)) == 4  # a session may be cancelled twice

    async def timed() -> None:
        async with AsyncClient(Endless.make()) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.infer(PIXELS)

    asyncio.run(timed())
    assert len(Endless.cancelled_at) in (0, 2)  # none if the time was over before the session began


def test_an_interrupted_caller_gives_its_session_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does, which reaches the caller while it waits."""
    from mpcvit.client import cancellation

    parties = Endless.make()
    waits = cancellation.Cancellation.wait_for

    def interrupted(self: object, ready: Callable[[], bool], timeout_s: float) -> None:
        if timeout_s > 50:  # the session's
            parties[0].started()
            raise KeyboardInterrupt
        waits(self, ready, timeout_s)

    with Client(parties) as client:
        client.models()
        monkeypatch.setattr(Client, "_offers", lambda self, *_: [[Offer(MANIFEST)], [Offer(MANIFEST)]])
        monkeypatch.setattr(cancellation.Cancellation, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.infer(PIXELS, deadline_s=100)
    assert {party for party, _ in Endless.cancelled_at} == {0, 1}


def test_closing_gives_up_what_other_threads_wait_for() -> None:
    """They hear that the client was closed; the parties hear that nobody waits."""
    parties = Endless.make()
    client, heard = Client(parties), []

    def ask() -> None:
        with pytest.raises(SessionError, match="a closed client"):
            client.infer(PIXELS)
        heard.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    parties[0].started()
    client.close()
    thread.join(WAIT_S)
    assert heard
    assert {party for party, _ in Endless.cancelled_at} == {0, 1}
    with pytest.raises(SessionError, match="a closed client"):
        next(client.infer_each([PIXELS]))


def test_a_client_for_asyncio_does_not_block_the_loop() -> None:
    """Other tasks run while one waits; progress comes in the loop's thread; threads serve several loops."""

    async def run() -> None:
        here, seen = threading.get_ident(), []
        async with AsyncClient(Watched.make()) as client:
            answer, models, late = await asyncio.gather(
                client.infer(PIXELS, progress=lambda *_: seen.append(threading.get_ident())),
                client.models(),
                client.infer(PIXELS, "other"),
                return_exceptions=True,
            )
        await asyncio.sleep(0)
        assert answer.label in "abc"
        assert models == [MANIFEST]
        assert late.reason == "MODEL_MISMATCH"
        assert set(seen) == {here}

    asyncio.run(run())
    asyncio.run(run())
