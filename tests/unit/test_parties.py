"""Parts of the services that need no process: ledger, settings, sessions, peer streams, material, provisioning."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import grpc
import pytest
import yaml
from cryptography import x509

from mpcvit.client.settings import ClientSettings
from mpcvit.errors import (
    ConfigError,
    DealerLost,
    DealerTimeout,
    NotAllowed,
    PeerLost,
    PeerTimeout,
    ProtocolViolation,
    SessionExpired,
    SessionReplayed,
    SessionUnknown,
)
from mpcvit.session.link import Frame
from mpcvit.wire.codec import CHUNK_BYTES
from mpcvit.wire.v1 import dealer_pb2, peer_pb2, session_pb2
from parties.dealer_client import Lease, StreamedMaterial
from parties.failure import answering
from parties.ledger import Ledger
from parties.peer_stream import PeerStream
from parties.provision import provision_local
from parties.session_table import HeldSession, SessionTable
from parties.settings import DealerSettings, PartySettings


def test_a_session_id_is_burned_for_ever(tmp_path: Path) -> None:
    """Used ids stay used across restarts, and what a crash left open is marked."""
    ledger = Ledger(tmp_path)
    ledger.burn("one")
    ledger.burn("two")
    ledger.close_session("one", "done")
    with pytest.raises(SessionReplayed, match="session one again"):
        ledger.burn("one")
    ledger.close()
    ledger = Ledger(tmp_path)
    assert (ledger.state("one"), ledger.state("two"), ledger.state("three")) == ("done", "crashed", None)
    with pytest.raises(SessionReplayed):
        ledger.burn("two")


def test_an_unwritable_ledger_stops_the_party(tmp_path: Path) -> None:
    """Without a ledger no session may run."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="ledger"):
        Ledger(tmp_path / "file")


PARTY = {
    "index": 0,
    "listen": {"client": "127.0.0.1:1", "peer": "127.0.0.1:2", "health": "127.0.0.1:3"},
    "tls": {"ca": "tls/ca.crt", "cert": "tls/p.crt", "key": "/abs/p.key"},
    "peers": {1: "127.0.0.1:4"},
    "dealer": "127.0.0.1:5",
    "models": ["models/tiny"],
    "state": "state",
}


def _write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A configuration means the same from every working directory."""
    settings = PartySettings.read(_write(tmp_path / "p.yaml", PARTY))
    assert settings.tls.ca == tmp_path / "tls/ca.crt"
    assert settings.tls.key == Path("/abs/p.key")
    assert settings.models == [tmp_path / "models/tiny"]
    assert settings.state == tmp_path / "state"
    assert settings.limits.sessions == 2


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPCVIT_<SECTION>__<KEY> overrides the file."""
    monkeypatch.setenv("MPCVIT_LIMITS__SESSIONS", "7")
    monkeypatch.setenv("MPCVIT_DEALER", "elsewhere:1")
    settings = PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "limits": {"queue": 3}}))
    assert (settings.limits.sessions, settings.limits.queue, settings.dealer) == (7, 3, "elsewhere:1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"index": 5}, "party 5 of 2 needs peers"),
        ({"peers": {}}, r"needs peers \[1\]"),
        ({"listen": {"client": "a"}}, "listen.peer"),
        ({"limits": {"sessions": 0}}, r"limits\.sessions"),
        ({"timeouts": {"pair_s": -1}}, r"timeouts\.pair_s"),
        ({"models": []}, "models"),
    ],
)
def test_wrong_configurations_name_the_key(tmp_path: Path, change: dict, message: str) -> None:
    """Unknown, missing and impossible keys are errors that name the key."""
    with pytest.raises(ConfigError, match=message):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, **change}))


def test_missing_and_malformed_files(tmp_path: Path) -> None:
    """No file, not YAML, not a mapping."""
    with pytest.raises(ConfigError, match="no file"):
        DealerSettings.read(tmp_path / "missing.yaml")
    for text in ("- 1\n- 2\n", "a: [", ""):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError):
            ClientSettings.read(tmp_path / "x.yaml")


def _session(owner: str = "alice.client", number: int = 1) -> HeldSession:
    spec = session_pb2.SessionSpec(session_id=bytes([number] * 16))
    streams = {1: PeerStream(1, stall_s=1, largest_frame=10)}
    return HeldSession(spec, owner, None, None, streams)  # type: ignore[arg-type]


def test_sessions_belong_to_their_submitter() -> None:
    """Others may not fetch or cancel; unknown ids say so."""
    table = SessionTable()
    session = _session()
    table.add(session)
    assert table.owned(session.session_id, "alice.client") is session
    with pytest.raises(NotAllowed, match="another client"):
        table.owned(session.session_id, "bob.client")
    with pytest.raises(SessionUnknown):
        table.owned(bytes(16), "alice.client")


def test_an_unfetched_session_expires() -> None:
    """A result that nobody fetches is dropped, and does not count as work; removing a session ends its timer."""
    table, late, fetched = SessionTable(), _session(number=1), _session(number=2)
    for session in (late, fetched):
        table.add(session)
    assert table.unfinished() == 2
    table.expire(fetched, 60)
    assert table.unfinished() == 1
    table.expire(late, 0.01)
    table.remove(fetched.session_id)
    assert fetched.expiry is not None
    fetched.expiry.join(2)
    assert not fetched.expiry.is_alive()
    deadline = time.monotonic() + 2
    while table.all():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("active", [True, False])
def test_a_bug_travels_and_is_logged_without_its_text(active: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The caller hears INTERNAL and where to look; neither it nor the log gets the exception's message."""
    secret = str(7**20)  # computed, as the log quotes source lines
    context = Mock(spec=grpc.ServicerContext)
    context.is_active.return_value = active
    context.abort_with_status.side_effect = Exception
    with pytest.raises(Exception), answering(context, "party0"):  # noqa: B017, PT011  # gRPC raises a bare one
        raise ValueError(secret)
    assert context.abort_with_status.called is active
    if active:
        (status,) = context.abort_with_status.call_args.args
        assert status.code is grpc.StatusCode.INTERNAL
        assert "log of party0" in status.details
        assert secret not in str(status)
        assert "ValueError" in caplog.text
    assert secret not in caplog.text


def test_waiting_for_a_session_ends_when_it_comes_or_expires() -> None:
    """A peer that asks early waits for the client's share, but not for ever."""
    table, session = SessionTable(), _session()
    threading.Timer(0.05, table.add, args=(session,)).start()
    assert table.wait_for(session.session_id, 2) is session
    with pytest.raises(SessionExpired, match="no share from the client"):
        table.wait_for(bytes(16), 0.01)
    with pytest.raises(SessionExpired, match="party 1"):
        table.wait_attached(session, 0.01)
    table.attach(session, 1)
    table.wait_attached(session, 0.01)
    with pytest.raises(NotAllowed, match="second stream"):
        table.attach(session, 1)


def _stream(stall_s: float = 5.0, largest: int = 4 * CHUNK_BYTES) -> PeerStream:
    return PeerStream(1, stall_s=stall_s, largest_frame=largest)


def test_frames_cross_a_stream_in_chunks() -> None:
    """Small, empty and large frames arrive whole and in order; heartbeats are not frames."""
    sender, receiver = _stream(), _stream()
    frames = [Frame(0, "a", b"x"), Frame(1, "b", b""), Frame(2, "c", bytes(3 * CHUNK_BYTES + 5)), Frame(3, "d", b"yz")]
    for frame in frames:
        sender.put(frame)
    sender.finish()
    messages = list(sender.outgoing(peer_pb2.ExchangeRequest))
    messages.insert(1, peer_pb2.ExchangeRequest(heartbeat=peer_pb2.Heartbeat()))
    assert len(messages) == 4 + 4
    receiver.consume(messages)
    assert [receiver.get(1) for _ in frames] == frames
    with pytest.raises(PeerLost, match="end of the stream"):
        receiver.get(1)


def _chunk(sequence: int, tag: str, frame_bytes: int, payload: bytes) -> peer_pb2.ExchangeRequest:
    chunk = peer_pb2.FrameChunk(sequence=sequence, tag=tag, frame_bytes=frame_bytes, payload=payload)
    return peer_pb2.ExchangeRequest(chunk=chunk)


@pytest.mark.parametrize(
    "messages",
    [
        [_chunk(0, "a", 1000, b"x")],
        [_chunk(0, "a", 2, b"xyz")],
        [_chunk(0, "a", 4, b"xy"), _chunk(0, "b", 4, b"xy")],
        [_chunk(0, "a", 4, b"xy"), _chunk(1, "a", 4, b"xy")],
    ],
)
def test_lying_chunks_are_violations(messages: list) -> None:
    """Announced beyond the limit, longer than announced, or mixed with another frame."""
    receiver = _stream(largest=100)
    receiver.consume(messages)
    with pytest.raises(ProtocolViolation, match="party 1"):
        receiver.get(1)


def test_silence_is_noticed() -> None:
    """Without heartbeats the stall deadline counts; with them the patience for a message."""
    with pytest.raises(PeerTimeout, match="no sign of life"):
        _stream(stall_s=0.1).get(10)
    with pytest.raises(PeerTimeout, match="no message for"):
        _stream(stall_s=10).get(0.1)


def test_an_idle_stream_sends_heartbeats() -> None:
    """A stream with nothing to say shows that it lives."""
    stream = _stream()
    outgoing = stream.outgoing(peer_pb2.ExchangeRequest)
    assert next(outgoing).WhichOneof("part") == "heartbeat"
    stream.finish()
    assert list(outgoing) == []


class FakeCall:
    """A dealer's stream of the given payloads."""

    def __init__(self, *payloads: bytes, delay_s: float = 0.0, first: int = 0) -> None:
        self.payloads, self.delay_s, self.first, self.cancelled = payloads, delay_s, first, False

    def __iter__(self) -> Iterator[dealer_pb2.StreamMaterialResponse]:
        for sequence, payload in enumerate(self.payloads, start=self.first):
            time.sleep(self.delay_s)
            yield dealer_pb2.StreamMaterialResponse(sequence=sequence, payload=payload)

    def cancel(self) -> None:
        self.cancelled = True


def _material(call: FakeCall, length: int, prefetch: int = 100, op_s: float = 2.0) -> StreamedMaterial:
    return StreamedMaterial(
        Lease(dealer_pb2.LeaseMaterialRequest(), bytes(16), bytes(32), length, b""),
        call,
        prefetch_bytes=prefetch,
        op_s=op_s,
        explain=lambda error: DealerLost("x", expected="y", remedy="z"),
    )


def test_material_is_read_across_pieces() -> None:
    """Reads of any size give the bytes in order, whatever the messages' sizes."""
    material = _material(FakeCall(b"abc", b"defgh", b"ij"), 10)
    material.wait_ready(1)
    assert [bytes(material.read(count)) for count in (1, 4, 0, 2, 3)] == [b"a", b"bcde", b"", b"fg", b"hij"]
    assert material.received == 10


def test_the_buffer_is_bounded_but_never_blocks_a_larger_read() -> None:
    """Prefetch stops at its limit; one item larger than the limit still comes through."""
    material = _material(FakeCall(*[b"12345678"] * 10), 80, prefetch=10)
    material.wait_ready(1)
    time.sleep(0.05)
    assert material.received <= 24
    assert len(material.read(64)) == 64
    assert len(material.read(16)) == 16


def test_short_stalled_and_disordered_material_is_typed() -> None:
    """An early end is a loss, a stall a timeout, a wrong order a loss."""
    with pytest.raises(DealerLost, match="after 3 bytes"):
        _material(FakeCall(b"abc"), 10).wait_ready(1)
    with pytest.raises(DealerTimeout):
        _material(FakeCall(b"abc", delay_s=0.5), 3, op_s=0.05).read(3)
    with pytest.raises(DealerTimeout):
        _material(FakeCall(b"abc", delay_s=0.5), 3).wait_ready(0.05)
    with pytest.raises(DealerLost, match="piece 1"):
        _material(FakeCall(b"abc", first=1), 3).read(3)


def test_closing_drops_the_material() -> None:
    """After close nothing is kept and the dealer's stream is cancelled."""
    call = FakeCall(b"abc", b"def")
    material = _material(call, 6)
    material.wait_ready(1)
    material.close()
    assert call.cancelled
    assert not material._pieces


def test_certificates_carry_one_role_and_keys_stay_private(tmp_path: Path) -> None:
    """Each certificate names its role, is signed by the authority, and its key is readable by the owner only."""
    provision_local(tmp_path, ["party0", "demo.client"])
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    for role in ("party0", "demo.client"):
        certificate = x509.load_pem_x509_certificate((tmp_path / f"{role}.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{role}.mpcvit"]
        assert (tmp_path / f"{role}.key").stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("ca.key*"))


def test_certificates_are_never_overwritten(tmp_path: Path) -> None:
    """A second authority in the same folder would cut off every role that trusts the first."""
    provision_local(tmp_path, ["party0"])
    before = (tmp_path / "ca.crt").read_bytes()
    with pytest.raises(ConfigError, match="has certificates already"):
        provision_local(tmp_path, ["party0"])
    assert (tmp_path / "ca.crt").read_bytes() == before
