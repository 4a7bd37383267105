"""Another version of a model, rolled out at running parties while clients ask: no session fails."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ModelMismatch
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from tests.support.clusters import make_cluster

OLD, NEW = ("a", "b", "c"), ("d", "e", "f")


def _mpcvit(cluster: LocalCluster, *words: str, code: int = 0) -> dict[str, Any]:
    """What an operator's command prints."""
    command = [sys.executable, "-m", "mpcvit.cli", *words, "--config", str(cluster.admin_config), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == code, run.stdout + run.stderr
    return json.loads(run.stdout)


def _share(model: Path, folder: Path, **changes: Any) -> None:
    """Shares of the model with other facts about it; the labels tell its answers from those of another version."""
    exported = ModelFolder.load(model)
    changed = ModelFolder(replace(exported.description, **changes), exported.program, exported.weights)
    share_model(changed, 2, folder)


def _activate(cluster: LocalCluster, model: str) -> None:
    """Once material waits for it at both parties."""
    end = time.monotonic() + 60
    while True:
        command = [sys.executable, "-m", "mpcvit.cli", "model", "activate", model]
        run = subprocess.run(
            [*command, "--config", str(cluster.admin_config), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if run.returncode == 0:
            return
        assert json.loads(run.stdout)["error"]["reason"] in ("MATERIAL_EXHAUSTED", "MODEL_MISMATCH"), run.stdout
        assert time.monotonic() < end, run.stdout
        time.sleep(0.5)


def test_a_version_is_rolled_out_while_clients_ask(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Loaded at one party after the other, activated when both have it, and back again; answers change with it."""
    picture, models = tiny_pictures.images[0], tmp_path / "models"
    models.mkdir()
    _share(tiny_folder, models / "two", version="2", labels=NEW)
    _share(tiny_folder, models / "other", version="3", labels=NEW)
    done = threading.Event()
    with make_cluster(tiny_folder, tmp_path, load_from=str(models)) as cluster:

        def ask() -> list[str]:
            labels = []
            with Client.from_config(cluster.client_config) as client:
                while not done.is_set():
                    labels.append(client.infer(picture, "tiny").label)
            return labels

        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(ask) for _ in range(2)]
            try:
                with Client.from_config(cluster.client_config) as client:
                    _mpcvit(cluster, "model", "load", "two/party0", "--role", "party0")
                    error = _mpcvit(cluster, "model", "activate", "tiny:2", "--role", "party0", code=1)["error"]
                    assert error["reason"] == "MODEL_MISMATCH"
                    assert "at party 1" in error["got"]
                    assert client.infer(picture, "tiny").label in OLD
                    with pytest.raises(ModelMismatch):
                        client.infer(picture, "tiny:2")
                    _mpcvit(cluster, "model", "load", "two/party1", "--role", "party1")
                    assert client.infer(picture, "tiny:2").label in NEW
                    assert client.infer(picture, "tiny").label in OLD
                    _activate(cluster, "tiny:2")
                    assert client.infer(picture, "tiny").label in NEW
                    assert client.infer(picture, "tiny:1").label in OLD
                    versions = [(model.name, model.version) for model in client.models()]
                    assert versions == [("tiny", "2"), ("tiny", "1")]
                    _activate(cluster, "tiny:1")
                    assert client.infer(picture, "tiny").label in OLD
                time.sleep(1)
            finally:
                done.set()
            labels = [label for answer in answers for label in answer.result()]
        assert {label in NEW for label in labels} == {True, False}
        for words, reason in (
            (("two/party0", "--role", "party0"), "MODEL_MISMATCH"),  # loaded already
            (("../shares/party0", "--role", "party0"), "NOT_ALLOWED"),
            (("other/party1", "--role", "party0"), "MODEL_FILE"),  # another party's share
        ):
            code = 2 if reason == "NOT_ALLOWED" else 1
            assert _mpcvit(cluster, "model", "load", *words, code=code)["error"]["reason"] == reason
        shown = _mpcvit(cluster, "status")["party0"]["models"]
        assert [(model["version"], model["active"]) for model in shown] == [("1", True), ("2", False)]
