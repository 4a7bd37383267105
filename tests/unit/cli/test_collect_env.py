"""``mpcvit collect-env`` tells what a report needs and nothing that is secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mpcvit
from mpcvit.cli.collect_env import scrubbed
from mpcvit.cli.main import app
from parties.local.provision import provision_local

PARTY = """
index: 0
listen: {client: 127.0.0.1:8443, peer: 127.0.0.1:8444, health: 127.0.0.1:8081}
tls: {ca: tls/ca.crt, cert: tls/party0.crt, key: tls/party0.key}
peers: {1: party1:8444}
dealer: dealer:8445
models: [models/tiny]
state: {dir: state, url: "postgresql://mpcvit:canary-password@db.example/ledger?sslkey=canary-query"}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    provision_local(tmp_path / "tls", ["party0"])
    (tmp_path / "state").mkdir()
    (tmp_path / "party0.yaml").write_text(PARTY)
    return tmp_path / "party0.yaml"


def _collect(*options: str, **environment: str) -> dict[str, Any]:
    run = CliRunner().invoke(app, ["collect-env", "--json", *options], env=environment)
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


def test_versions_and_machine_are_there() -> None:
    found = _collect()
    assert found["mpcvit"] == mpcvit.__version__
    assert {"grpcio", "protobuf", "torch"} <= set(found["packages"])
    assert found["cpu"]["count"] > 0
    assert found["memory_mib"]["total"] > 100


def test_a_configuration_shows_keys_problems_and_certificates(config: Path) -> None:
    found = _collect("--config", str(config))["config"]
    assert found["role"] == "party"
    assert not found["problems"]
    assert found["content"]["peers"] == {"1": "party1:8444"}
    (own,) = found["certificates"]["cert"]
    assert own["names"] == ["party0.mpcvit"]
    assert 300 < own["days_left"] < 366
    assert found["state_free_mib"] > 0


def test_a_wrong_configuration_is_shown_with_what_is_wrong(config: Path) -> None:
    config.write_text(PARTY.replace("dealer:8445", "dealer"))
    found = _collect("--config", str(config))["config"]
    assert "is no host:port" in found["problems"][0]
    assert "certificates" not in found


def test_nothing_secret_is_shown(config: Path) -> None:
    """Passwords in addresses, tokens, keys, and what looks like one; for people neither."""
    canaries = {
        "MPCVIT_API_TOKEN": "canary-token",
        "MPCVIT_TLS__KEY": "-----BEGIN PRIVATE KEY-----canary-key",
        "https_proxy": "http://user:canary-proxy@proxy:3128",
        "MPCVIT_STATE__URL": "postgresql://u:canary-variable@db/x",
        "AWS_SECRET_ACCESS_KEY": "canary-aws",
    }
    shown = json.dumps(_collect("--config", str(config), **canaries))
    assert "canary" not in shown
    assert "db.example" in shown
    assert "proxy:3128" in shown
    key = (config.parent / "tls/party0.key").read_text().splitlines()[1]
    assert key not in shown
    text = CliRunner().invoke(app, ["collect-env", "--config", str(config)], env=canaries)
    assert text.exit_code == 0, text.output
    assert "canary" not in text.output


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        ({"Token": 3, "a": [{"client_secret": "x"}]}, "", {"Token": "<hidden>", "a": [{"client_secret": "<hidden>"}]}),
        ("postgres://host/db", "url", "postgres://host/db"),
        ("postgres://user@host/db", "url", "postgres://<hidden>host/db"),
        (["-----BEGIN EC PRIVATE KEY-----\nabc"], "key", ["<hidden>"]),
        (7, "sessions", 7),
        (None, "url", None),
    ],
)
def test_values_are_scrubbed(value: object, name: str, expected: object) -> None:
    assert scrubbed(value, name) == expected
