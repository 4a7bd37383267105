"""The client against parties that answer in clear, late or not at all."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from mpcvit.client import Client, MockTransport, Offer, Owners, Submission
from mpcvit.client.image import encode_picture
from mpcvit.client.parties import _root_cause
from mpcvit.client.transport import GrpcParty, OnProgress
from mpcvit.errors import (
    DealerLost,
    ModelMismatch,
    NotSigned,
    PeerAborted,
    PeerLost,
    PeerTimeout,
    ProtocolViolation,
    SessionCancelled,
    SessionError,
    ShapeMismatch,
)
from mpcvit.wire.owners import fingerprint
from mpcvit.wire.ranges import Ranges
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import inference_pb2
from tests.support.stand_in import MANIFEST, PIXELS, first_values


def test_split_and_join_give_the_model_s_answer() -> None:
    """What the parties see adds up to the encoded picture, and the answer is decoded."""
    with Client(MockTransport.parties(MANIFEST, first_values)) as client:
        answer = client.infer(PIXELS)
    expected = encode_picture(PIXELS, MANIFEST).reshape(-1)[:3] / 2.0**12
    assert (answer.logits == expected).all()
    assert answer.label == "abc"[expected.argmax()]
    assert abs(answer.probabilities.sum() - 1) < 1e-12
    assert answer.top(2)[0][0] == answer.label


def test_all_parties_but_the_last_get_only_a_seed() -> None:
    """Shares sent: 32 bytes, 32 bytes, and uniform-looking codes; fresh ones each time; one spec for all."""
    manifest = replace(MANIFEST, parties=3)
    sent: list[Submission] = []

    class Spy(MockTransport):
        def submit(self, submission: Submission, deadline: float) -> None:
            sent.append(submission)
            super().submit(submission, deadline)

    with Client(Spy.parties(manifest, first_values)) as client:
        client.infer(PIXELS)
        client.infer(PIXELS)
    seeds = [item.share for item in sent if isinstance(item.share, bytes)]
    masked = [item.share for item in sent if not isinstance(item.share, bytes)]
    assert len(set(seeds)) == 4
    assert all(len(seed) == 32 for seed in seeds)
    assert not np.intersect1d(masked[0], masked[1]).size
    assert np.abs(masked[0]).min() > 2**30  # a pixel's code is below 2**15
    assert len({item.spec.SerializeToString() for item in sent}) == 2
    assert all("share" not in repr(item) for item in sent)


def test_notices_come_with_the_answer() -> None:
    """That it is of the first frame of an animation."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    with Client(MockTransport.parties(replace(MANIFEST, ranges=Ranges.PROVEN), first_values)) as client:
        answer, still = client.infer(file.getvalue()), client.infer(PIXELS)
    assert (answer.logits == still.logits).all()
    assert "2 frames or pages: number 1" in answer.notices[0]
    assert still.notices == ()


@pytest.mark.parametrize(("ranges", "warned"), [("proven", False), ("guarded", False), ("calibrated", True)])
def test_answers_of_calibrated_ranges_say_so(ranges: str, warned: bool) -> None:
    """The caller hears that nobody would notice a wrong answer."""
    manifest = replace(MANIFEST, ranges=Ranges(ranges))
    with Client(MockTransport.parties(manifest, first_values)) as client:
        notices = client.infer(PIXELS).notices
    assert [("calibrated, not proven" in notice) for notice in notices] == [True] * warned


def test_parties_must_serve_the_same_share_set() -> None:
    """Different manifests at two parties stop the client before it sends anything."""
    one = MockTransport.parties(MANIFEST, first_values)[0]
    other = MockTransport.parties(replace(MANIFEST, share_set="00" * 16), first_values)[1]
    with Client([one, other]) as client, pytest.raises(ModelMismatch, match="served differently"):
        client.infer(PIXELS)


def test_wrong_model_name_and_digest_are_refused() -> None:
    """An unknown name, a pin that does not match, and a wrong number of parties are model mismatches."""
    parties = MockTransport.parties(MANIFEST, first_values)
    with Client(parties) as client, pytest.raises(ModelMismatch, match="'other'"):
        client.infer(PIXELS, "other")
    with Client(parties, {"tiny": "00" * 32}) as client, pytest.raises(ModelMismatch, match="pinned digest"):
        client.infer(PIXELS)
    with Client(parties, {"tiny": MANIFEST.digest.hex()}) as client:
        assert client.infer(PIXELS).model == "tiny"
    with Client(parties[:1]) as client, pytest.raises(ModelMismatch, match="among 2 parties"):
        client.infer(PIXELS)


class Signed(MockTransport):
    """Parties that have the owner's signature of their model, all but those in ``without``."""

    key = Ed25519PrivateKey.generate()
    without: tuple[int, ...] = ()

    def offers(self, deadline: float) -> list[Offer]:
        return [
            replace(offer, signature=b"" if self._index in self.without else self.key.sign(offer.manifest.canonical()))
            for offer in super().offers(deadline)
        ]


def test_a_client_may_ask_for_the_owner_s_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """One party's signature is enough. Without one, or with another owner's, nothing is sent."""
    owners, stranger = (
        Owners({fingerprint(key.public_key()): key.public_key()}) for key in (Signed.key, Ed25519PrivateKey.generate())
    )
    parties = Signed.parties(MANIFEST, first_values)
    with Client(parties, owners=owners) as client:
        assert client.infer(PIXELS).model == "tiny"
        monkeypatch.setattr(Signed, "without", (0,))
        assert client.infer(PIXELS).model == "tiny"
        monkeypatch.setattr(Signed, "submit", None)
        monkeypatch.setattr(Signed, "without", (0, 1))
        with pytest.raises(NotSigned, match="'tiny' as the parties serve it, unsigned"):
            client.infer(PIXELS)
        monkeypatch.undo()
    with Client(Signed.parties(MANIFEST, first_values), owners=stranger) as client:
        monkeypatch.setattr(Signed, "submit", None)
        with pytest.raises(NotSigned, match="wrong signature or from another owner"):
            client.infer(PIXELS)


@pytest.mark.parametrize(("signatures", "expected"), [([], [b""] * 2), ([b"x", b""], [b"x", b""]), ([b"x"], None)])
def test_signatures_belong_to_manifests(
    signatures: list[bytes], expected: list[bytes] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A party of before sends none; one for each, or the party's answer is refused."""

    class Stub:
        def __init__(self, channel: object) -> None: ...

        def ListModels(self, request: object, timeout: float) -> inference_pb2.ListModelsResponse:  # noqa: N802
            return inference_pb2.ListModelsResponse(manifests=[MANIFEST.canonical()] * 2, signatures=signatures)

    monkeypatch.setattr("mpcvit.client.transport.OwnIdentity", lambda _: None)
    monkeypatch.setattr("mpcvit.client.transport.RoleChannel", lambda *_, **__: None)
    monkeypatch.setattr("mpcvit.client.transport.inference_pb2_grpc.InferenceServiceStub", Stub)
    party = GrpcParty("localhost:1", TlsFiles.in_folder(tmp_path, "x"), "party0")
    if expected is None:
        with pytest.raises(ProtocolViolation, match="1 signatures of 2 manifests"):
            party.offers(time.monotonic() + 1)
    else:
        assert party.offers(time.monotonic() + 1) == [Offer(MANIFEST, signature) for signature in expected]


def test_a_pin_for_a_model_that_nobody_serves_is_refused() -> None:
    """A misspelt name pins nothing; it is not ignored, even beside a good pin. Digests may be in capitals."""
    parties, digest = MockTransport.parties(MANIFEST, first_values), MANIFEST.digest.hex()
    for pins in ({"tinny": digest}, {"tiny": digest, "tinny": digest}):
        with Client(parties, pins) as client, pytest.raises(ModelMismatch, match=r"pin for 'tinny'.* served: tiny"):
            client.infer(PIXELS)
    with Client(parties, {"tiny": digest.upper()}) as client:
        assert client.infer(PIXELS).model == "tiny"


def test_threads_share_a_client() -> None:
    """Every session's calls run at once, however many threads there are: none waits for another's turn."""
    together = threading.Barrier(8, timeout=20)

    class Slow(MockTransport):
        def submit(self, submission: Submission, deadline: float) -> None:
            together.wait()  # four sessions of two parties
            super().submit(submission, deadline)

    labels: list[str] = []
    with Client(Slow.parties(MANIFEST, first_values)) as client:
        threads = [threading.Thread(target=lambda: labels.append(client.infer(PIXELS).label)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(labels) == 4
    assert len(set(labels)) == 1


def test_a_closed_client_says_so() -> None:
    """Before and during a call."""
    client = Client(MockTransport.parties(MANIFEST, first_values))
    client.close()
    for call in (client.models, lambda: client.infer(PIXELS)):
        with pytest.raises(SessionError, match="a closed client"):
            call()

    class Closing(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            client.close()
            raise ValueError("Cannot invoke RPC on closed channel!")

    client = Client(Closing.parties(MANIFEST, first_values))
    with pytest.raises(SessionError, match="a closed client"):
        client.infer(PIXELS)


def test_a_party_that_never_answers_does_not_hang_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport that overlooks its deadline ends in a typed error soon after it."""
    monkeypatch.setattr("mpcvit.client.parties._GRACE_S", 0.1)
    released = threading.Event()

    class Deaf(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            if self._index == 1:
                released.wait(20)
            return super().fetch(session_id, deadline, progress)

    start = time.monotonic()
    with Client(Deaf.parties(MANIFEST, first_values)) as client, pytest.raises(PeerTimeout, match="party1"):
        client.infer(PIXELS, deadline_s=0.3)
    assert time.monotonic() - start < 5
    released.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_client_does_not_survive_a_fork() -> None:
    """In the child it raises at once and closes without a word; in the parent it goes on."""
    code = """
import os, sys, warnings
import numpy as np
from mpcvit.client import Client, MockTransport
from mpcvit.errors import SessionError
from tests.support.stand_in import MANIFEST, PIXELS, first_values

warnings.simplefilter("ignore")  # Python's own about forks and threads
client = Client(MockTransport.parties(MANIFEST, first_values))
client.infer(PIXELS)
child = os.fork()
if child == 0:
    try:
        with client:
            client.infer(PIXELS)
    except SessionError as error:
        os._exit(7 if "which was forked" in str(error) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
client.infer(PIXELS)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_result_of_the_wrong_length_is_refused() -> None:
    """Shares that cannot be logits of this model are never joined."""
    with (
        Client(MockTransport.parties(MANIFEST, lambda codes: codes.reshape(-1)[:4])) as client,
        pytest.raises(ProtocolViolation, match="expected 3 codes"),
    ):
        client.infer(PIXELS)


def test_the_first_failure_is_told_whichever_party_is_slower() -> None:
    """A party that asks for its result after the other's failure ended the session does not hide that failure."""

    class Late(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            if self._index == 1:
                with self._changed:
                    self._changed.wait_for(lambda: session_id in self._cancelled, timeout=20)
            return super().fetch(session_id, deadline, progress)

    with (
        Client(Late.parties(MANIFEST, lambda codes: codes.reshape(-1)[:4])) as client,
        pytest.raises(ProtocolViolation, match="expected 3 codes"),
    ):
        client.infer(PIXELS)


def test_a_failing_party_cancels_the_session_everywhere() -> None:
    """One party's error is raised, and every party is told to stop."""
    cancelled = []

    class Failing(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            if self._index == 1:
                raise DealerLost("nothing", expected="material", remedy="Start the dealer.", origin="party1")
            raise PeerAborted("party 1 gave up", expected="an end", remedy="See there.", origin="party0")

        def cancel(self, session_id: bytes) -> None:
            cancelled.append(self._index)

    with Client(Failing.parties(MANIFEST, first_values)) as client, pytest.raises(DealerLost):
        client.infer(PIXELS)
    assert sorted(cancelled) in ([], [0, 1])  # nobody left to tell if both had failed already


def test_the_cause_is_preferred_to_its_echoes() -> None:
    """Of several parties' errors the one that says why is raised."""
    parts = {"expected": "x", "remedy": "y"}
    cause, lost = ShapeMismatch("a", **parts), PeerLost("b", **parts)
    aborted, cancelled = PeerAborted("c", **parts), SessionCancelled("d", **parts)
    assert _root_cause([cancelled, aborted, cause]) is cause
    assert _root_cause([cancelled, lost]) is lost
    assert isinstance(_root_cause([cause, KeyError("bug")]), KeyError)


def test_answers_do_not_show_in_repr() -> None:
    """repr of an inference hides logits."""
    with Client(MockTransport.parties(MANIFEST, first_values)) as client:
        assert "hidden" in repr(client.infer(PIXELS))
