"""A role's own PEM files: what cannot work is found before gRPC reads it, and roles are DNS names alone."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mpcvit.errors import ConfigError, MpcvitError, NotAuthenticated
from mpcvit.wire.own_certificate import the_role
from mpcvit.wire.tls import CLIENT_SUFFIX, TlsFiles, caller_role, server_credentials
from parties.local.provision import provision_local
from tests.support.channels import secure_channel

DAY = datetime.timedelta(days=1)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """Good files of two parties and a client."""
    provision_local(tmp_path / "tls", ["party0", "party1", "demo.client"])
    return tmp_path / "tls"


def _other(tls: Path, *, shift: datetime.timedelta = 0 * DAY) -> Path:
    provision_local(tls.parent / "other", ["party0"], now=_now() + shift)
    return tls.parent / "other"


def _text(tls: Path, text: str) -> Path:
    path = tls / "text"
    path.write_text(text)
    return path


def _encrypted(tls: Path) -> Path:
    key = serialization.load_pem_private_key((tls / "party0.key").read_bytes(), None)
    path = tls / "encrypted.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return path


Change = Callable[[Path], dict[str, Path]]
WRONG: dict[str, tuple[Change, type[MpcvitError], str]] = {
    "no file": (lambda tls: {"cert": tls / "none.crt"}, ConfigError, r"FileNotFoundError reading .*none\.crt"),
    "a folder": (lambda tls: {"key": tls}, ConfigError, "IsADirectoryError"),
    "empty authority": (lambda tls: {"ca": _text(tls, "")}, ConfigError, "which is empty"),
    "empty certificate": (lambda tls: {"cert": _text(tls, "\n")}, ConfigError, "which is empty"),
    "empty key": (lambda tls: {"key": _text(tls, "")}, ConfigError, "which is empty"),
    "no certificate": (lambda tls: {"cert": _text(tls, "hello")}, ConfigError, "not a PEM certificate"),
    "no key": (lambda tls: {"key": tls / "party0.crt"}, ConfigError, r"party0\.crt, which is not a PEM private key"),
    "key with a password": (lambda tls: {"key": _encrypted(tls)}, ConfigError, "a key with a password"),
    "another's key": (
        lambda tls: {"key": tls / "party1.key"},
        ConfigError,
        r"party1\.key, which is not the key of .*party0\.crt",
    ),
    "another authority": (
        lambda tls: {"ca": _other(tls) / "ca.crt"},
        NotAuthenticated,
        r"party0\.crt, which no authority in .*other/ca\.crt signed",
    ),
    "expired": (lambda tls: _all(_other(tls, shift=-800 * DAY)), NotAuthenticated, "which expired on 20"),
    "not valid yet": (lambda tls: _all(_other(tls, shift=9 * DAY)), NotAuthenticated, "which is valid only from 20"),
}


def _all(folder: Path) -> dict[str, Path]:
    return {"ca": folder / "ca.crt", "cert": folder / "party0.crt", "key": folder / "party0.key"}


@pytest.mark.parametrize("kind", WRONG)
def test_files_that_cannot_work_are_named(tls: Path, kind: str) -> None:
    """Servers and channels refuse them alike, with the file and the reason; gRPC never sees them."""
    change, error, message = WRONG[kind]
    files = TlsFiles(**{**_all(tls), **change(tls)})
    with pytest.raises(error, match=message):
        server_credentials(files.read)
    with pytest.raises(error, match=message):
        secure_channel("127.0.0.1:1", files, "party1")


def test_good_files_are_read_as_they_are(tls: Path) -> None:
    """(ca, key, certificate); an authority among others will do, and so will one behind another certificate."""
    files = TlsFiles.in_folder(tls, "party0")
    expected = tuple((tls / name).read_bytes() for name in ("ca.crt", "party0.key", "party0.crt"))
    assert files.read() == expected
    both = tls / "both.crt"
    both.write_bytes((_other(tls) / "ca.crt").read_bytes() + (tls / "ca.crt").read_bytes())
    assert TlsFiles(both, files.cert, files.key).read()[1:] == expected[1:]


def test_the_certificate_is_the_role_s_own(tls: Path) -> None:
    """Parties by number, clients by any name."""
    TlsFiles.in_folder(tls, "party0").require_role("party0")
    TlsFiles.in_folder(tls, "demo.client").require_role(CLIENT_SUFFIX)
    for own, wanted in (("party1", "party0"), ("party0", CLIENT_SUFFIX), ("demo.client", "dealer")):
        with pytest.raises(NotAuthenticated, match=f"for the role {own}"):
            TlsFiles.in_folder(tls, own).require_role(wanted)


def test_a_role_is_one_name_without_wildcards() -> None:
    """No name of ours, several, or a wildcard: no role."""
    assert the_role(["localhost", "party1.mpcvit"], "it") == "party1"
    for names in ([], ["localhost"], ["party0.mpcvit", "party1.mpcvit"], ["*.mpcvit"], ["*.client.mpcvit"]):
        with pytest.raises(NotAuthenticated, match="exactly one DNS name"):
            the_role(names, "it")


def _issue(folder: Path, name: str, alternatives: list[x509.GeneralName]) -> TlsFiles:
    """A certificate with these names from an authority of its own; with the authority in ``folder/ca.crt``."""
    key, authority_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])

    def build(whose: ec.EllipticCurvePrivateKey, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject if ca else x509.Name([]))
            .issuer_name(subject)
            .public_key(whose.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - DAY)
            .not_valid_after(_now() + DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    folder.mkdir()
    authority = build(authority_key, True).sign(authority_key, hashes.SHA256())
    own = build(key, False).add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(authority.public_bytes(pem))
    (folder / f"{name}.crt").write_bytes(own.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return TlsFiles.in_folder(folder, name)


@pytest.mark.parametrize(
    ("alternatives", "expected"),
    [
        ([x509.DNSName("party1.mpcvit")], "party1"),
        ([x509.DNSName("party1.mpcvit"), x509.RFC822Name("dealer@party0.mpcvit")], "party1"),
        ([x509.DNSName("host.example"), x509.RFC822Name("demo.client.mpcvit")], NotAuthenticated),
        ([x509.DNSName("host.example"), x509.UniformResourceIdentifier("party1.mpcvit")], NotAuthenticated),
        ([x509.UniformResourceIdentifier("spiffe://party1.mpcvit")], NotAuthenticated),
        ([x509.DNSName("party1.mpcvit"), x509.DNSName("party0.mpcvit")], NotAuthenticated),
    ],
    ids=["dns", "dns and e-mail", "e-mail", "uri", "uri alone", "two"],
)
def test_only_dns_names_are_roles(
    tls: Path, tmp_path: Path, alternatives: list[x509.GeneralName], expected: str | type[MpcvitError]
) -> None:
    """Over a real handshake: an e-mail address or a URI that ends like a role gives none."""
    caller = _issue(tmp_path / "caller", "caller", alternatives)
    both = tmp_path / "both.crt"
    both.write_bytes((tls / "ca.crt").read_bytes() + caller.ca.read_bytes())
    seen: list[str | MpcvitError] = []

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            seen.append(caller_role(context))
        except MpcvitError as error:
            seen.append(error)
        return b""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, [Handler()])
        own = TlsFiles(both, tls / "party0.crt", tls / "party0.key")
        port = server.add_secure_port("127.0.0.1:0", server_credentials(own.read))
        server.start()
        with secure_channel(f"127.0.0.1:{port}", TlsFiles(both, caller.cert, caller.key), "party0") as channel:
            channel.unary_unary("/any/Method")(b"", timeout=10)
        server.stop(None).wait()
    assert seen == [expected] if isinstance(expected, str) else isinstance(seen[0], expected)
