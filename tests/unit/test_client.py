"""The SDK against parties that answer in clear."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpcvit.client import Client, MockTransport, Submission
from mpcvit.client.client import _root_cause
from mpcvit.client.image import encode_picture
from mpcvit.client.transport import OnProgress
from mpcvit.errors import (
    DealerLost,
    InputError,
    ModelMismatch,
    PeerAborted,
    PeerLost,
    ProtocolViolation,
    SessionCancelled,
    ShapeMismatch,
)
from mpcvit.ring.fixed_point import Codes
from tests.unit.test_wire import MANIFEST

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def first_values(codes: Codes) -> Codes:
    """A stand-in for a model: the first three input values are the logits."""
    return codes.reshape(-1)[:3]


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


def test_pictures_in_every_form_encode_alike(tmp_path: Path) -> None:
    """A PNG file, a PIL image, pixels and normalised floats give the same codes."""
    path = tmp_path / "x.png"
    Image.fromarray(PIXELS).save(path)
    floats = ((PIXELS / 255 - 0.5) / 0.25).transpose(2, 0, 1)
    expected = encode_picture(PIXELS, MANIFEST)
    for picture in (path, str(path), Image.open(path), floats, floats.astype(np.float32)):
        assert np.abs(encode_picture(picture, MANIFEST) - expected).max() <= 1


@pytest.mark.parametrize(
    ("picture", "kind", "message"),
    [
        (np.zeros((9, 8, 3), np.uint8), ShapeMismatch, r"shape \(9, 8, 3\)"),
        (np.zeros((8, 8), np.uint8), ShapeMismatch, "shape"),
        (np.full((3, 8, 8), np.nan), InputError, "NaN"),
        (np.full((3, 8, 8), 99.0), InputError, "outside"),
        (np.zeros((8, 8, 3), np.int32), InputError, "int32"),
        ("missing.png", InputError, "FileNotFoundError"),
    ],
)
def test_bad_pictures_are_refused_before_anything_is_sent(picture: object, kind: type, message: str) -> None:
    """Wrong size, NaN, range, type and path: typed errors, and no submission."""

    class Never(MockTransport):
        def submit(self, submission: Submission, deadline: float) -> None:
            pytest.fail("something was sent")

    with Client(Never.parties(MANIFEST, first_values)) as client, pytest.raises(kind, match=message) as caught:
        client.infer(picture)
    assert caught.value.got
    assert caught.value.expected
    assert caught.value.remedy


def test_a_text_file_is_not_a_picture(tmp_path: Path) -> None:
    """Undecodable files are input errors."""
    (tmp_path / "x.jpg").write_text("hello")
    with pytest.raises(InputError, match="UnidentifiedImageError"):
        encode_picture(tmp_path / "x.jpg", MANIFEST)


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


def test_a_result_of_the_wrong_length_is_refused() -> None:
    """Shares that cannot be logits of this model are never joined."""
    with (
        Client(MockTransport.parties(MANIFEST, lambda codes: codes.reshape(-1)[:4])) as client,
        pytest.raises(ProtocolViolation, match="each of 3 labels"),
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
        pytest.raises(ProtocolViolation, match="each of 3 labels"),
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


def test_the_light_client_imports_no_torch() -> None:
    """``import mpcvit.client`` needs only the base installation."""
    code = (
        "import sys, mpcvit.client; "
        "heavy = {'torch', 'crypten', 'timm', 'torchvision', 'safetensors'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_starts_without_torch() -> None:
    """``mpcvit --help`` and the client's commands work from the base installation."""
    code = (
        "import sys, mpcvit.cli.main; "
        "heavy = {'torch', 'crypten', 'timm', 'torchvision', 'safetensors'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
