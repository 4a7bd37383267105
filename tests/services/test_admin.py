"""An operator's calls to running parties and a running dealer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpcvit.admin.role_admin import RoleAdmin
from mpcvit.admin.settings import AdminSettings
from mpcvit.client import Client, Submission
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import MpcvitError
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from tests.support.clusters import make_cluster
from tests.support.raw_client import Raw


def _mpcvit(*words: str, code: int = 0) -> dict[str, Any]:
    """What a command prints with ``--json``."""
    run = subprocess.run(
        [sys.executable, "-m", "mpcvit.cli", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == code, run.stdout + run.stderr
    return json.loads(run.stdout)


def _status(cluster: LocalCluster, code: int = 0) -> dict[str, Any]:
    return _mpcvit("status", "--config", str(cluster.admin_config), code=code)


def _ready_status(cluster: LocalCluster) -> dict[str, Any]:
    """The status once all roles are ready and material waits."""
    end = time.monotonic() + 60
    while True:
        found = _status(cluster)
        parties = [found[role] for role in ("party0", "party1")]
        if all(one["ready"] for one in found.values()) and all(one["models"][0]["pool_ready"] for one in parties):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.5)


def test_status_shows_what_runs(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Material, other roles, ledgers, memory, certificates, clocks."""
    _ready_status(cluster)
    with Client.from_config(cluster.client_config) as client:
        client.infer(tiny_pictures.images[0])
    found = _ready_status(cluster)
    assert list(found) == ["dealer", "party0", "party1"]
    for number in range(2):
        party = found[f"party{number}"]
        assert set(party["roles"]) == {f"party{1 - number}", "dealer"}
        assert all(role["present"] and role["silence_s"] < 30 for role in party["roles"].values())
        assert party["models"][0]["name"] == "tiny"
        assert party["models"][0]["active"]
        assert party["models"][0]["session_bytes"] > 0
        assert not party["clients"]
        assert party["ledger"]["epoch"] >= 2  # the session's id and its material's
    assert found["dealer"]["ledger"]["epoch"] >= 1
    for role in found.values():
        assert role["memory"]["resident_bytes"] > 1 << 20
        assert 300 < role["certificate_days"] < 366
        assert abs(role["unix_time_s"] - time.time()) < 60


def test_status_counts_sessions_by_client(cluster: LocalCluster) -> None:
    """One that only one party has heard of is held, and nothing more."""
    settings = AdminSettings.read(cluster.admin_config)
    raw = Raw(cluster)
    spec = raw.spec()
    with RoleAdmin(settings.roles["party1"], settings.tls.files, "party1") as admin:
        raw.parties[1].submit(Submission(spec, np.zeros((3, 8, 8), dtype=np.int64)), raw.deadline)
        (counted,) = admin.status().clients
        raw.parties[1].cancel(spec.session_id)
    assert counted.client == CLIENT_ROLE
    assert (counted.held, counted.waiting, counted.running) == (1, 0, 0)


def test_drain_ends_a_role_in_order(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """The session that runs is answered, new ones are refused, the process ends with 0, and its peer says so."""
    config = str(own_cluster.admin_config)
    drained: list[dict[str, Any]] = []

    def drain(phase: str, done: int, total: int) -> None:
        if phase == "online" and not drained:
            drained.append(_mpcvit("drain", "party1", "--config", config))

    _ready_status(own_cluster)
    with Client.from_config(own_cluster.client_config) as client:
        assert client.infer(tiny_pictures.images[0], progress=drain).label in "abc"
        assert drained[0]["role"] == "party1"
        assert own_cluster.processes["party1"].wait(timeout=30) == 0
        with pytest.raises(MpcvitError):
            client.infer(tiny_pictures.images[0], deadline_s=10)
    end = time.monotonic() + 30
    while True:
        found = _status(own_cluster, code=2)
        assert found["party1"]["error"]["reason"] == "PEER_LOST"
        if found["party0"]["roles"]["party1"]["error"] and not found["party0"]["ready"]:
            break
        assert time.monotonic() < end, found
        time.sleep(0.5)
    assert "party1" in found["party0"]["unmet"]


def test_the_admin_port_is_off_unless_it_is_configured(tiny_folder: Path, tmp_path: Path) -> None:
    """Nobody listens where the operator's file points to."""
    import yaml

    cluster = make_cluster(tiny_folder, tmp_path)
    for role in cluster.roles:
        path = tmp_path / f"{role}.yaml"
        document = yaml.safe_load(path.read_text())
        del document["listen"]["admin"]
        path.write_text(yaml.safe_dump(document))
    with cluster:
        found = _status(cluster, code=2)
    assert {answer["error"]["reason"] for answer in found.values()} == {"PEER_LOST"}
