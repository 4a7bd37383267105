"""Clients' policies and quotas, by a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mpcvit.errors import ConfigError, NotAllowed, QuotaExceeded
from mpcvit.watched import Watched
from parties.common.tenants import Tenants
from parties.common.tenants_file import AcceptedTokens, Issuer, Policy, TenantsFile

KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _tenants(clock: Clock | None = None, **rules: object) -> Tenants:
    file = TenantsFile(**rules)  # type: ignore[arg-type]
    return Tenants(lambda: file, 8, clock or Clock())


def test_without_a_file_every_client_may_use_every_model() -> None:
    """As many sessions as the limits say, at any rate."""
    tenants = Tenants(None, 3)
    tenants.require_model("a.client", "any", "1")
    for _ in range(100):
        tenants.begin("a.client")
    tenants.require_room("a.client", held=2)
    with pytest.raises(QuotaExceeded, match="at most 3 at once"):
        tenants.require_room("a.client", held=3)
    tenants.require_room("a.client", held=11, slack=4)
    assert tenants.label("a.client") == "other"
    assert tenants.weight("a.client") == 1


def test_who_is_not_listed_gets_the_default_or_nothing() -> None:
    """A client by token has its issuer's policy before the default one."""
    tokens = AcceptedTokens(audience="demo", issuers={"clinic": Issuer(keys=[KEY], policy=Policy(weight=3))})
    listed = {"a.client": Policy(weight=5), "eve@clinic": Policy(weight=7, label="eve")}
    tenants = _tenants(default=Policy(weight=2), clients=listed, tokens=tokens)
    found = {
        identity: (tenants.weight(identity), tenants.policy(identity).label)
        for identity in ("a.client", "b.client", "eve@clinic", "bob@clinic", "bob@elsewhere")
    }
    assert found == {
        "a.client": (5, "a.client"),
        "b.client": (2, "other"),
        "eve@clinic": (7, "eve"),
        "bob@clinic": (3, "clinic"),
        "bob@elsewhere": (2, "other"),
    }
    closed = _tenants(clients=listed)
    for call in (
        lambda: closed.policy("b.client"),
        lambda: closed.begin("b.client"),
        lambda: closed.require_room("b.client", 0),
        lambda: closed.require_model("b.client", "m", "1"),
    ):
        with pytest.raises(NotAllowed, match="not listed"):
            call()
    assert closed.weight("b.client") == 1
    assert closed.label("b.client") == "other"


def test_models_are_allowed_by_name_or_by_version() -> None:
    """With patterns."""
    tenants = _tenants(clients={"a.client": Policy(models=("vit_*", "other:2"))})
    for name, version, allowed in (
        ("vit_tiny", "1", True),
        ("vit", "1", False),
        ("other", "2", True),
        ("other", "1", False),
        ("other", "22", False),
    ):
        assert tenants.policy("a.client").allows(name, version) is allowed
    with pytest.raises(NotAllowed, match="model 'other' version '1'"):
        tenants.require_model("a.client", "other", "1")


def test_rates_are_those_of_a_token_bucket() -> None:
    """A burst, then the rate, and the error says when to come again; one client's rate is no other's."""
    clock = Clock()
    tenants = _tenants(clock, default=Policy(requests_per_s=2, burst=3))
    for _ in range(3):
        tenants.begin("a.client")
    with pytest.raises(QuotaExceeded) as caught:
        tenants.begin("a.client")
    assert caught.value.retry_after_s == 0.5
    tenants.begin("b.client")
    clock.now = 0.25
    with pytest.raises(QuotaExceeded) as caught:
        tenants.begin("a.client")
    assert caught.value.retry_after_s == 0.25
    clock.now = 0.5
    tenants.begin("a.client")
    clock.now = 1000
    for _ in range(3):
        tenants.begin("a.client")
    with pytest.raises(QuotaExceeded):
        tenants.begin("a.client")


def test_who_sends_garbage_has_to_wait() -> None:
    """Sessions that fail by what a client sent cost others; after some it waits, though it has no quota."""
    clock = Clock()
    tenants = Tenants(None, 8, clock)
    for _ in range(3):
        tenants.begin("eve.client")
        tenants.blame("eve.client")
    with pytest.raises(QuotaExceeded, match="failed by what it sent") as caught:
        tenants.begin("eve.client")
    assert caught.value.retry_after_s == pytest.approx(300)
    tenants.begin("a.client")
    clock.now = 301
    tenants.begin("eve.client")
    for _ in range(100):
        tenants.blame("eve.client")
    clock.now = 301 + 1201
    tenants.begin("eve.client")  # what it owes has a bound


def test_many_clients_take_a_bounded_memory() -> None:
    """Those that have been quiet longest are forgotten."""
    tenants = _tenants(default=Policy(requests_per_s=1, burst=1))
    for number in range(5000):
        tenants.begin(f"c{number}.client")
    assert len(tenants._rates._left) <= 1024
    with pytest.raises(QuotaExceeded):
        tenants.begin("c4999.client")


def test_policies_change_while_the_party_runs(tmp_path: Path) -> None:
    """A file with an unknown key changes nothing."""
    path, clock = tmp_path / "tenants.yaml", Clock()

    def write(**rules: object) -> None:
        path.write_text(yaml.safe_dump(rules))

    write(clients={"a.client": {"weight": 2}})
    tenants = Tenants(Watched([path], lambda: TenantsFile.read(path), 10, clock).value, 8, clock)
    assert tenants.weight("a.client") == 2
    write(clients={"a.client": {"wieght": 3}})
    clock.now = 10
    assert tenants.weight("a.client") == 2
    write(clients={"a.client": {"weight": 4}, "b.client": {}})
    clock.now = 20
    assert tenants.weight("a.client") == 4
    assert tenants.policy("b.client").sessions == 8


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"clients": {"alice": {}}}, "clients.alice"),
        ({"clients": {"a.client": {"burst": 0}}}, "burst"),
        ({"tokens": {"audience": "demo", "issuers": {"x": {"keys": ["no key"]}}}}, "keys"),
        ({"tokens": {"audience": "demo", "issuers": {}}}, "issuers"),
        ({"defualt": {}}, "did you mean 'default'"),
    ],
)
def test_wrong_files_name_the_key(tmp_path: Path, rules: dict[str, object], words: str) -> None:
    """As all configuration files do."""
    path = tmp_path / "tenants.yaml"
    path.write_text(yaml.safe_dump(rules))
    with pytest.raises(ConfigError, match=words):
        TenantsFile.read(path)
