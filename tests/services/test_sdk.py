"""Both clients against real parties: batches, cancelled tasks, a client that is closed while it waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from mpcvit.client import AsyncClient, Client, PartyTransport, Submission
from mpcvit.client.transport import GrpcParty
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import NotAllowed, SessionCancelled, SessionUnknown
from parties.local.cluster import LocalCluster


def test_batches_of_both_clients_agree(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Same labels in the same order; a file that is no picture is an error in its place."""
    pictures = [*tiny_pictures.images[:3], b"no picture"]
    with Client.from_config(cluster.client_config) as client:
        (model,) = client.models()
        *one, refused = client.infer_many(pictures, concurrency=2, retries=10)

    async def batch() -> list:
        async with AsyncClient.from_config(cluster.client_config) as client:
            assert await client.models() == [model]
            return await client.infer_many(pictures, concurrency=2, retries=10)

    *other, refused_too = asyncio.run(batch())
    assert [answer.label for answer in one] == [answer.label for answer in other]
    assert len({answer.session_id for answer in [*one, *other]}) == 6
    assert refused.reason == refused_too.reason == "INVALID_INPUT"


def _gone(party: PartyTransport, session_id: bytes) -> None:
    """Return once ``party`` has ended the session; until it notices, its result is promised to the first fetch."""
    deadline = time.monotonic() + 20
    while True:
        try:
            party.fetch(session_id, deadline, lambda *_: None)
        except (SessionCancelled, SessionUnknown):
            return
        except NotAllowed:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_cancelled_task_leaves_nothing_at_the_parties(
    cluster: LocalCluster, tiny_pictures: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both parties have forgotten the session, or cancelled it, and serve the next one."""
    sessions: list[bytes] = []
    submit = GrpcParty.submit

    def watched(party: GrpcParty, submission: Submission, deadline: float) -> None:
        sessions.append(submission.spec.session_id)
        submit(party, submission, deadline)

    monkeypatch.setattr(GrpcParty, "submit", watched)

    async def run() -> str:
        async with AsyncClient.from_config(cluster.client_config) as client:
            running = asyncio.Event()
            task = asyncio.create_task(client.infer(tiny_pictures.images[0], progress=lambda *_: running.set()))
            await asyncio.wait_for(running.wait(), 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with AsyncClient.from_config(cluster.client_config) as client:
            (*_, last) = sessions
            for party in client._parties._transports:
                await asyncio.to_thread(_gone, party, last)
            return (await client.infer(tiny_pictures.images[0], deadline_s=40)).label

    assert asyncio.run(run()) in "abc"


def test_a_deadline_ends_a_request(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """With a typed error, soon after it, and the parties serve the next request."""
    with Client.from_config(cluster.client_config) as client:
        start = time.monotonic()
        answer = client.infer_many([tiny_pictures.images[0]], deadline_s=0.001, retries=100)[0]
        assert time.monotonic() - start < 10
        assert answer.reason in {"PEER_TIMEOUT", "SESSION_EXPIRED"}
        assert client.infer(tiny_pictures.images[0], deadline_s=40).label in "abc"
