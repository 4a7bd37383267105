"""Signed tokens: who is believed, and that a token for one party is worth nothing at another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client.own_tokens import OwnTokens
from mpcvit.errors import ConfigError, NotAllowed, NotAuthenticated
from parties.common.callers import Callers
from parties.common.tenants_file import AcceptedTokens, Issuer
from parties.common.tokens import issue, token_identity


def public(key: Ed25519PrivateKey) -> str:
    """The public key in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """An issuer's."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def tokens(key: Ed25519PrivateKey) -> AcceptedTokens:
    """What a party accepts: two issuers, the second one with an old and a new key."""
    other = [public(Ed25519PrivateKey.generate()), public(key)]
    return AcceptedTokens(
        audience="demo",
        longest_s=600,
        issuers={"other": Issuer(keys=[public(Ed25519PrivateKey.generate())]), "clinic": Issuer(keys=other)},
    )


def _issue(key: Ed25519PrivateKey, **changes: Any) -> list[str]:
    facts = {"issuer": "clinic", "subject": "alice", "deployment": "demo", "valid_s": 300.0, "now": time.time()}
    return issue(key, parties=2, **{**facts, **changes})


def _raw(key: Any, algorithm: str = "EdDSA", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "clinic", "sub": "alice", "aud": "demo/party0", "iat": now, "exp": now + 60, **changes}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


def test_each_party_accepts_its_own_token_alone(key: Ed25519PrivateKey, tokens: AcceptedTokens) -> None:
    """Party 0, which sees one, cannot fetch the other share of a result at party 1 with it."""
    first, second = _issue(key)
    assert token_identity(first, tokens, 0) == "alice@clinic"
    assert token_identity(second, tokens, 1) == "alice@clinic"
    for token, party in ((first, 1), (second, 0)):
        with pytest.raises(NotAuthenticated, match="for another audience"):
            token_identity(token, tokens, party)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"now": time.time() - 1000}, "has expired"),
        ({"now": time.time() + 1000}, "ImmatureSignatureError"),
        ({"valid_s": 601.0}, "for more than 600 s"),
        ({"issuer": "other"}, "InvalidIssuerError"),
        ({"deployment": "production"}, "another audience"),
        ({"subject": "al ice"}, "no name"),
        ({"subject": "a@b"}, "no name"),
        ({"subject": "x" * 65}, "no name"),
        ({"subject": "x" * 5000}, "a token of"),
    ],
)
def test_other_claims_are_refused(
    key: Ed25519PrivateKey, tokens: AcceptedTokens, changes: dict[str, Any], words: str
) -> None:
    """Each with its reason."""
    with pytest.raises(NotAuthenticated, match=words):
        token_identity(_issue(key, **changes)[0], tokens, 0)


def test_signatures_and_algorithms(key: Ed25519PrivateKey, tokens: AcceptedTokens) -> None:
    """Another key, none, the public key as a shared secret; claims that are missing or of another form."""
    assert token_identity(_raw(key), tokens, 0) == "alice@clinic"
    good = _raw(key)
    for token in (
        _raw(Ed25519PrivateKey.generate()),
        _raw(None, "none"),
        _raw("secret of more than thirty-two letters", "HS256"),
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        "",
        "a.b.c",
        *(_raw(key, **{claim: None}) for claim in ("sub", "aud", "iat", "exp")),
        _raw(key, iss=None),
        _raw(key, aud=["demo/party0", "demo/party1"]),
        _raw(key, sub=7),
    ):
        with pytest.raises(NotAuthenticated) as caught:
            token_identity(token, tokens, 0)
        assert not token or token not in str(caught.value)


class Context:
    """A call's facts."""

    def __init__(self, *authorization: str, dns: bytes | None = None) -> None:
        self._authorization, self._dns = authorization, dns

    def auth_context(self) -> dict[str, list[bytes]]:
        return {} if self._dns is None else {"peer_dns": [self._dns], "x509_pem_cert": [b""]}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("user-agent", "x"), *(("authorization", value) for value in self._authorization)]


def test_callers_without_a_certificate_need_exactly_one_token(key: Ed25519PrivateKey, tokens: AcceptedTokens) -> None:
    """And a party that accepts none says so."""
    token = _issue(key)[0]
    callers = Callers({}, 0, lambda: tokens)
    assert callers.client(Context(f"Bearer {token}")) == "alice@clinic"  # type: ignore[arg-type]
    for shown in ((), (token,), (f"Basic {token}",), (f"Bearer {token}",) * 2):
        with pytest.raises(NotAuthenticated, match="without a token"):
            callers.client(Context(*shown))  # type: ignore[arg-type]
    with pytest.raises(NotAuthenticated, match="a client's certificate"):
        Callers({}, 0, lambda: None).client(Context(f"Bearer {token}"))  # type: ignore[arg-type]


def test_a_party_is_no_client(key: Ed25519PrivateKey, tokens: AcceptedTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a certificate is what it says, whatever token it shows."""
    from tests.support.authority import Authority

    context = Context(f"Bearer {_issue(key)[0]}", dns=b"party1.mpcvit")
    facts = {"peer_dns": [b"party1.mpcvit"], "x509_pem_cert": [Authority().certificate("party1")[0]]}
    monkeypatch.setattr(context, "auth_context", lambda: facts)
    with pytest.raises(NotAllowed):
        Callers({}, 0, lambda: tokens).client(context)  # type: ignore[arg-type]


def test_the_commands_make_keys_and_tokens(tmp_path: Path) -> None:
    """What they write is what parties accept and clients read; nobody else can read the files."""
    run = CliRunner().invoke(app, ["token", "key", str(tmp_path / "issuer.key"), "--json"])
    assert run.exit_code == 0, run.output
    import json

    accepted = AcceptedTokens(audience="demo", issuers={"clinic": Issuer(keys=[json.loads(run.stdout)["public_key"]])})
    order = ["token", "issue", "--key", str(tmp_path / "issuer.key"), "--issuer", "clinic", "--subject", "alice"]
    run = CliRunner().invoke(app, [*order, "--audience", "demo", "--out", str(tmp_path / "a.token"), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["client"] == "alice@clinic"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    own = OwnTokens(tmp_path / "a.token", 2)
    assert [token_identity(own.of(party)(), accepted, party) for party in (0, 1)] == ["alice@clinic"] * 2
    with pytest.raises(ConfigError, match="2 tokens"):
        OwnTokens(tmp_path / "a.token", 3)
    again = CliRunner().invoke(app, ["token", "key", str(tmp_path / "issuer.key")])
    assert again.exit_code == 4
