"""The files under deploy/ mean what the services understand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mpcvit import zoo
from mpcvit.client.settings import ClientSettings
from mpcvit.config_file import ConfigFile
from parties.common.settings import DealerSettings, PartySettings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CONFIGS: dict[str, type[ConfigFile]] = {
    "party0": PartySettings,
    "party1": PartySettings,
    "dealer": DealerSettings,
    "client": ClientSettings,
}


@pytest.mark.parametrize("role", CONFIGS)
def test_configurations_are_valid_and_their_files_are_mounted(role: str) -> None:
    """Every path that a role's configuration names is a mount of its service, and nothing of another role is."""
    settings = CONFIGS[role].read(DEPLOY / "config" / f"{role}.yaml")
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][role]
    sources, targets = zip(*(volume.split(":")[:2] for volume in service["volumes"]), strict=True)
    for path in (settings.tls.ca, settings.tls.cert, settings.tls.key):
        assert f"/etc/mpcvit/{path.relative_to(DEPLOY / 'config')}" in targets
    others = {"party0", "party1", "dealer", "demo.client"} - {role, f"demo.{role}"}
    keys = [source for source in sources if source.endswith(".key")]
    assert not [key for key in keys if any(other in key for other in others)]


def test_no_role_sees_a_share_of_another() -> None:
    """A party mounts its own share folder; dealer and client mount none."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for role in CONFIGS:
        shares = [
            volume for volume in services[role]["volumes"] if "/shares/" in volume and "program.json" not in volume
        ]
        assert len(shares) == role.startswith("party")
        assert all(f"/shares/{role}:" in volume for volume in shares)


def test_hardening_is_on() -> None:
    """Every service is read-only, without capabilities, without core dumps, and none runs as root."""
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in document["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["ulimits"] == {"core": 0}
        assert not service["user"].startswith("0")


def test_the_shared_model_is_the_default_one() -> None:
    """compose shares the model that the demo uses."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert f"model share {zoo.DEFAULT} " in services["setup"]["command"][0]
