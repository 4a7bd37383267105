"""Certificates that are missing, foreign, out of date, of another role, of another key, or replaced under load."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from mpcvit.errors import NotAllowed, NotAuthenticated
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc
from parties.local.cluster import CLIENT_ROLE
from tests.support.authority import DAY, Authority
from tests.support.channels import secure_channel
from tests.support.deployment import Deployment, Outcome, pin
from tests.support.reliability import Case

NOW = datetime.datetime.now(datetime.UTC)
Files = Callable[[Deployment], tuple[Path, Path] | None]


def _pair(files: TlsFiles) -> tuple[Path, Path]:
    assert files.cert is not None
    assert files.key is not None
    return files.cert, files.key


BAD: dict[str, Files] = {
    "none": lambda deployment: None,
    "another authority's": lambda deployment: _pair(Authority().issue(deployment.folder / "foreign", CLIENT_ROLE)),
    "expired": lambda deployment: _pair(deployment.issue("old.client", starts=NOW - 9 * DAY, ends=NOW - DAY)),
    "not valid yet": lambda deployment: _pair(deployment.issue("early.client", starts=NOW + DAY, ends=NOW + 2 * DAY)),
}


def _served(address: str, ca: Path, pair: tuple[Path, Path] | None) -> bool:
    """Whether a TLS connection with these files is kept open by the server."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        context.load_cert_chain(*pair)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname="party0.mpcvit") as secure,
        ):
            return bool(secure.recv(1))  # with TLS 1.3, the refusal comes after the handshake
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return False


@pytest.mark.case(19, "a caller's certificate", "the handshake is refused within 1 s; diagnose names the cause")
@pytest.mark.parametrize("kind", list(BAD))
def test_19_bad_certificate(deployment: Deployment, case: Case, kind: str) -> None:
    ca, pair = deployment.folder / "tls/ca.crt", BAD[kind](deployment)
    good = _pair(TlsFiles.in_folder(deployment.folder / "tls", CLIENT_ROLE))
    ports = {
        "party0": deployment.configuration("party0")["listen"]["client"],
        "party1": deployment.configuration("party1")["listen"]["peer"],
        "dealer": deployment.configuration("dealer")["listen"]["party"],
    }
    for role, address in ports.items():
        assert _served(address, ca, good)
        start = time.monotonic()
        assert not _served(address, ca, pair), role
        case.within(time.monotonic() - start, 1)
    case.saw("refused by parties and dealer")
    if pair is not None:
        found = probe(ports["party0"], TlsFiles(ca, *pair), "party0")
        assert isinstance(found, NotAuthenticated)
        case.saw(f"diagnose: {found.got.rpartition('/')[2][:100]}")


@pytest.mark.case(20, "a client's certificate at the ports of parties and of the dealer", "PERMISSION_DENIED")
def test_20_client_calls_peers_and_dealer(deployment: Deployment, case: Case) -> None:
    files = TlsFiles.in_folder(deployment.folder / "tls", CLIENT_ROLE)
    party = deployment.configuration("party0")
    refused = 0
    targets = (
        (party["listen"]["peer"], "party0", peer_pb2_grpc.PeerServiceStub, peer_pb2),
        (party["dealer"], "dealer", dealer_pb2_grpc.DealerServiceStub, dealer_pb2),
    )
    for address, role, stub_class, messages in targets:
        service = messages.DESCRIPTOR.services_by_name[stub_class.__name__.removesuffix("Stub")]
        with secure_channel(address, files, role) as channel:
            for method in service.methods:
                request = getattr(messages, method.input_type.name)()
                call = channel.stream_stream(f"/{service.full_name}/{method.name}")
                with pytest.raises(grpc.RpcError) as caught:
                    list(call(iter([request.SerializeToString()]), timeout=5))
                assert isinstance(from_rpc_error(caught.value, role), NotAllowed), method.name
                refused += 1
    case.saw(f"{refused} methods refused")
    assert refused >= 8


@pytest.mark.case(21, "party 1's certificate is from our authority and has another key than is pinned", "refused")
def test_21_rogue_key(own_deployment: Deployment, case: Case) -> None:
    files = own_deployment.issue("party1")
    tls = own_deployment.configuration("party0")["tls"]
    own_deployment.configure("party0", tls={**tls, "spki_sha256": {"party1": [pin(files)]}})
    own_deployment.configure("party1", tls={key: str(getattr(files, key)) for key in ("ca", "cert", "key")})
    for key, reasons in (("pinned", {"right"}), ("another", {"NOT_AUTHENTICATED", "PEER_LOST"})):
        if key == "another":
            own_deployment.issue("party1")  # in the place of the files before
        own_deployment.restart("party0", "party1")
        case.saw(own_deployment.eventually(reasons))
    rogue = [own_deployment.attempt(deadline_s=10).reason for _ in range(3)]
    assert "right" not in rogue
    own_deployment.configure("party0", tls=tls)
    own_deployment.restart("party0")


@pytest.mark.case(
    22, "certificates of all roles are replaced while clients ask", "no session fails; the new ones are shown"
)
def test_22_rotation_under_load(own_deployment: Deployment, case: Case) -> None:
    for role in own_deployment.cluster.roles:
        files = own_deployment.issue(role)
        tls = {key: str(getattr(files, key)) for key in ("ca", "cert", "key")}
        own_deployment.configure(role, tls={**tls, "reload_s": 0.5})
    own_deployment.restart(*own_deployment.cluster.roles)
    own_deployment.require_recovery()
    outcomes: list[Outcome] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            outcomes.append(own_deployment.attempt(deadline_s=20))

    asking = threading.Thread(target=ask)
    asking.start()
    shown: dict[str, bytes] = {}
    try:
        for _ in range(3):
            time.sleep(1)
            for role in own_deployment.cluster.roles:
                new = own_deployment.issue(role)
                assert new.cert is not None
                shown[role] = ssl.PEM_cert_to_DER_cert(new.cert.read_text())
        time.sleep(1.5)
    finally:
        stop.set()
        asking.join()
    failed = [outcome.reason for outcome in outcomes if outcome.error is not None]
    case.saw(f"{len(outcomes)} answers through 3 rotations, {len(failed)} errors {failed or ''}")
    assert not failed
    for role, key in (("party0", "client"), ("party1", "peer"), ("dealer", "party")):
        host, _, port = own_deployment.configuration(role)["listen"][key].rpartition(":")
        assert ssl.PEM_cert_to_DER_cert(_certificate(host, int(port))) == shown[role]


def _certificate(host: str, port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, port), timeout=5) as raw, context.wrap_socket(raw) as secure:
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")
