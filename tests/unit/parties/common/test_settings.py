"""Configuration files of parties, dealers and clients."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mpcvit.client.settings import ClientSettings
from mpcvit.errors import ConfigError
from mpcvit.yaml_document import YamlDocument
from parties.common.settings import DealerSettings, PartySettings

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
    otel = {"endpoint": "https://collector:4317", "ca": "collector.crt"}
    settings = PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "otel": otel}))
    assert settings.otel is not None
    assert settings.otel.ca == tmp_path / "collector.crt"
    assert settings.tls.ca == tmp_path / "tls/ca.crt"
    assert settings.tls.key == Path("/abs/p.key")
    assert settings.models == [tmp_path / "models/tiny"]
    assert settings.state.dir == tmp_path / "state"
    assert settings.limits.sessions == 2


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPCVIT_<SECTION>__<KEY> overrides the file."""
    monkeypatch.setenv("MPCVIT_LIMITS__SESSIONS", "7")
    monkeypatch.setenv("MPCVIT_DEALER", "elsewhere:1")
    settings = PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "limits": {"queue": 3}}))
    assert (settings.limits.sessions, settings.limits.queue, settings.dealer) == (7, 3, "elsewhere:1")


def test_the_state_is_a_folder_and_perhaps_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain path is short for the folder; the database's address, which may hold a password, is never shown."""
    monkeypatch.setenv("MPCVIT_STATE__URL", "postgresql://dealer:secret@db/ledger")
    for state in ("state", {"dir": "state"}):
        settings = PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "state": state}))
        assert settings.state.dir == tmp_path / "state"
        assert settings.state.url is not None
        assert settings.state.url.get_secret_value() == "postgresql://dealer:secret@db/ledger"
        assert "secret" not in repr(settings)
    monkeypatch.setenv("MPCVIT_STATE__URL", "mysql://dealer:secret@db/ledger")
    with pytest.raises(ConfigError, match=r"MPCVIT_STATE__URL: .*postgresql") as caught:
        PartySettings.read(tmp_path / "p.yaml")
    assert "secret" not in str(caught.value)


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
        ({"models": [{"a": "b"}]}, r"models\.0"),
    ],
)
def test_wrong_configurations_name_the_key(tmp_path: Path, change: dict, message: str) -> None:
    """Unknown, missing and impossible keys are errors that name the key."""
    with pytest.raises(ConfigError, match=message):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, **change}))


CLIENT = {"tls": PARTY["tls"], "parties": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    ("variable", "value", "settings"),
    [
        ("MPCVIT_PARTIES", "a:1,b:2", ClientSettings),
        ("MPCVIT_PARTIES", '["a:1"]', ClientSettings),
        ("MPCVIT_PARTIES", '["a:1", "b"]', ClientSettings),
        ("MPCVIT_PINS", '{"tiny": "00"}', ClientSettings),
        ("MPCVIT_DEADLINE_S", "soon", ClientSettings),
        ("mpcvit_deadline_s", "soon", ClientSettings),
        ("MPCVIT_PARTIES", "two", PartySettings),
        ("MPCVIT_INDEX", "5", PartySettings),
        ("MPCVIT_LIMITS", "many", PartySettings),
        ("MPCVIT_LIMITS", '{"sessions": 0}', PartySettings),
        ("MPCVIT_LIMITS__SESSIONS", "0", PartySettings),
        ("MPCVIT_LIMITS__SESSION", "3", PartySettings),
        ("MPCVIT_PEERS__1", "nonsense", PartySettings),
        ("MPCVIT_DEALER", "", PartySettings),
        ("MPCVIT_LISTEN__PEER", "127.0.0.1:99999", PartySettings),
        ("MPCVIT_ENGINE", "warp", PartySettings),
        ("MPCVIT_MODELS", "one", PartySettings),
    ],
)
def test_a_wrong_variable_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, settings: type
) -> None:
    """The message names the variable that won over the file, and the file is not said to be wrong."""
    path = _write(tmp_path / "x.yaml", CLIENT if settings is ClientSettings else PARTY)
    settings.read(path)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        settings.read(path)
    assert variable.upper() in caught.value.got
    assert variable == "MPCVIT_INDEX" or str(path) not in str(caught.value)


def test_the_file_is_blamed_for_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are good are not, even of the same section."""
    monkeypatch.setenv("MPCVIT_LIMITS", '{"queue": 3}')
    monkeypatch.setenv("MPCVIT_DEALER", "good:1")
    with pytest.raises(ConfigError, match=r"p\.yaml:4: limits\.sessions") as caught:
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "limits": {"sessions": 0}}))
    assert "MPCVIT" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["host", "host:", ":1", "host:0", "host:65536", "host:x", "a b:1", "::1:5", "http://host:1", "host:1/x"]
)
def test_addresses_are_host_and_port(tmp_path: Path, address: str) -> None:
    """Wrong ones are named, each of them."""
    for change in ({"dealer": address}, {"peers": {1: address}}, {"listen": {**PARTY["listen"], "peer": address}}):
        with pytest.raises(ConfigError, match="is no host:port"):
            PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, **change}))
    with pytest.raises(ConfigError, match=r"parties\.1: .* is no host:port"):
        ClientSettings.read(_write(tmp_path / "c.yaml", {**CLIENT, "parties": ["a:1", address]}))


def test_addresses_differ_and_may_be_ipv6(tmp_path: Path) -> None:
    """One port cannot serve two purposes; IPv6 hosts stand in brackets."""
    good = ["[::1]:1", "[fe80::1%eth0]:2", "host-1.example:65535"]
    assert ClientSettings.read(_write(tmp_path / "c.yaml", {**CLIENT, "parties": good})).parties == good
    same = {"client": "127.0.0.1:1", "peer": "127.0.0.1:1", "health": "127.0.0.1:3"}
    with pytest.raises(ConfigError, match="not all different"):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "listen": same}))
    with pytest.raises(ConfigError, match="not all different"):
        ClientSettings.read(_write(tmp_path / "c.yaml", {**CLIENT, "parties": ["a:1", "a:1"]}))


@pytest.mark.parametrize(
    "listen",
    [
        {"client": "0.0.0.0:1", "peer": "127.0.0.1:1", "health": "127.0.0.1:3"},
        {"client": "localhost:1", "peer": "127.0.0.1:2", "health": "127.0.0.1:1"},
        {"client": "10.0.0.1:1", "peer": "10.0.0.1:2", "health": "[::]:1"},
    ],
)
def test_different_names_of_one_port_are_no_different_addresses(tmp_path: Path, listen: dict[str, str]) -> None:
    """Nor are a host and all hosts."""
    with pytest.raises(ConfigError, match="are one port"):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "listen": listen}))


def test_a_party_is_not_its_own_peer(tmp_path: Path) -> None:
    """Not even by a wrong address."""
    for own in PARTY["listen"].values():
        with pytest.raises(ConfigError, match="itself listens on"):
            PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "peers": {1: own}}))
    listen = {"client": "0.0.0.0:1", "peer": "0.0.0.0:2", "health": "127.0.0.1:3"}
    with pytest.raises(ConfigError, match=r"peers\.1: localhost:2, an address that this party itself listens on"):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "listen": listen, "peers": {1: "localhost:2"}}))
    with pytest.raises(ConfigError, match=r"dealer: 127\.0\.0\.1:1, an address that this party itself listens on"):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "listen": listen, "dealer": "127.0.0.1:1"}))


def test_a_dealer_is_no_peer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are one port"):
        PartySettings.read(_write(tmp_path / "p.yaml", {**PARTY, "dealer": PARTY["peers"][1]}))


def test_every_wrong_key_is_named_with_its_line(tmp_path: Path) -> None:
    """Unknown ones with the key that was meant, missing ones with the section that lacks them."""
    (tmp_path / "d.yaml").write_text(
        "listen:\n  party: a:99999\ntls: {ca: a, cert: b, key: c}\nprograms:\n  - x\nstate: s\nlimit:\n  leases: 3\n"
    )
    _, problems = DealerSettings.check(YamlDocument.read(tmp_path / "d.yaml"))
    found = {(problem.where.rpartition(":")[2], problem.key): problem.what for problem in problems}
    assert set(found) == {("2", "listen.party"), ("1", "listen.health"), ("7", "limit")}
    assert found["1", "listen.health"] == "is missing"
    assert found["7", "limit"] == "is no key here; did you mean 'limits'?"


@pytest.mark.parametrize("key", ["_env_prefix", "_cli_parse_args", "1"])
def test_keys_that_python_would_take_for_options_are_unknown_keys(tmp_path: Path, key: str) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(CLIENT) + f"{key}: x\n")
    with pytest.raises(ConfigError, match=f"{key}: is no key here"):
        ClientSettings.read(tmp_path / "c.yaml")


def test_a_key_in_the_place_of_its_path_is_not_printed(tmp_path: Path) -> None:
    tls = {**PARTY["tls"], "key": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"}
    with pytest.raises(ConfigError, match=r"tls\.key: the content of a file; give its path") as caught:
        ClientSettings.read(_write(tmp_path / "c.yaml", {**CLIENT, "tls": tls}))
    assert "canary" not in str(caught.value)


def test_a_key_that_stands_there_twice_is_an_error(tmp_path: Path) -> None:
    """YAML readers take the last one silently."""
    (tmp_path / "c.yaml").write_text("deadline_s: 3\nparties: [a:1, b:2]\ndeadline_s: 4\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:3: the key 'deadline_s' a second time"):
        ClientSettings.read(tmp_path / "c.yaml")


def test_missing_and_malformed_files(tmp_path: Path) -> None:
    """No file, not YAML, not a mapping."""
    with pytest.raises(ConfigError, match="no file"):
        DealerSettings.read(tmp_path / "missing.yaml")
    for text in ("- 1\n- 2\n", "a: [", ""):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError):
            ClientSettings.read(tmp_path / "x.yaml")
