"""Running clusters of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mpcvit.program.model_folder import ModelFolder
from mpcvit.program.shares import share_model
from parties.local_cluster import LocalCluster

#: Short deadlines, so that faults show soon.
TIMEOUTS = {"pair_s": 4, "offline_s": 20, "stall_s": 3, "op_s": 10, "session_s": 60, "drain_s": 2}


def make_cluster(model: Path, folder: Path, parties: int = 2, **overrides: object) -> LocalCluster:
    """A cluster of the model in ``model`` that is not started yet; ``overrides`` go to every party's configuration."""
    _, shares = share_model(ModelFolder.load(model), parties, folder / "shares")
    return LocalCluster(shares, folder, overrides={"timeouts": TIMEOUTS, **overrides})


@pytest.fixture(scope="session")
def cluster(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two parties and a dealer that tests share and leave running."""
    with make_cluster(tiny_folder, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def own_cluster(tiny_folder: Path, tmp_path: Path) -> Iterator[LocalCluster]:
    """Two parties and a dealer for one test that breaks them."""
    with make_cluster(tiny_folder, tmp_path) as running:
        yield running
