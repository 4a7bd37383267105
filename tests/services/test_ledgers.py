"""Ledgers that are rolled back or lost: whoever knows better refuses, until the operator mends or accepts it."""

from __future__ import annotations

import shutil
import time

import pytest
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import MpcvitError
from parties.local.cluster import LocalCluster

PARTIES = ("party0", "party1")


def _classify(cluster: LocalCluster, images: ImageSet) -> str:
    with Client.from_config(cluster.client_config) as client:
        return client.infer(images.images[0], deadline_s=20).label


def _until_served(cluster: LocalCluster, images: ImageSet) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            assert _classify(cluster, images) in "abc"
            return
        except MpcvitError:
            assert time.monotonic() < end
            time.sleep(0.2)


def _refusal(cluster: LocalCluster, images: ImageSet) -> str:
    """What the client hears once the roles have seen each other's ledgers."""
    end = time.monotonic() + 20
    while True:
        with pytest.raises(MpcvitError) as caught:
            _classify(cluster, images)
        if "ledger" in str(caught.value) or time.monotonic() > end:
            return str(caught.value)
        time.sleep(0.2)


def _stop(cluster: LocalCluster) -> None:
    for role in PARTIES:
        cluster.processes[role].terminate()
    for role in PARTIES:
        cluster.processes[role].wait(30)


def _start(cluster: LocalCluster) -> None:
    for role in PARTIES:
        cluster.start(role)
    for role in PARTIES:
        cluster.wait_ready(role)


def test_a_ledger_that_was_rolled_back_or_lost(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Both parties from one snapshot, then one without its state; the newest state and an operator's word are taken."""
    state, old, newest = (own_cluster.folder / name for name in ("state", "old", "newest"))
    _stop(own_cluster)
    for party in PARTIES:
        shutil.copytree(state / party, old / party)
    _start(own_cluster)
    _until_served(own_cluster, tiny_pictures)
    time.sleep(1.5)  # roles ask each other every second
    _stop(own_cluster)
    for party in PARTIES:
        shutil.move(state / party, newest / party)
        shutil.copytree(old / party, state / party)
    _start(own_cluster)
    assert "an older ledger" in _refusal(own_cluster, tiny_pictures)  # the two fit together: the dealer knows

    _stop(own_cluster)
    for party in PARTIES:
        shutil.rmtree(state / party)
    shutil.move(newest / "party0", state / "party0")
    _start(own_cluster)
    assert "another ledger of party1" in _refusal(own_cluster, tiny_pictures)
    for role in ("party0", "dealer"):
        words = ["ledger", "accept", "party1", "--config", str(own_cluster.folder / f"{role}.yaml")]
        end = time.monotonic() + 10
        while CliRunner().invoke(app, words).exit_code:  # until the role has seen what it refuses
            assert time.monotonic() < end
    _until_served(own_cluster, tiny_pictures)
