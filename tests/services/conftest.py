"""Running clusters of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parties.local.cluster import LocalCluster
from tests.support.clusters import make_cluster


@pytest.fixture(scope="session")
def cluster(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two parties and a dealer that tests share and leave running."""
    with make_cluster(tiny_folder, tmp_path_factory.mktemp("cluster"), clients=3) as running:
        yield running


@pytest.fixture
def own_cluster(tiny_folder: Path, tmp_path: Path) -> Iterator[LocalCluster]:
    """Two parties and a dealer for one test that breaks them."""
    with make_cluster(tiny_folder, tmp_path) as running:
        yield running
