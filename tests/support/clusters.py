"""Clusters of real processes with short deadlines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster

#: Short deadlines, so that faults show soon.
TIMEOUTS = {"pair_s": 4, "offline_s": 20, "stall_s": 3, "op_s": 10, "session_s": 60, "drain_s": 2}


def make_cluster(
    model: Path,
    folder: Path,
    parties: int = 2,
    route: Callable[[str, str, str], str] = lambda caller, callee, address: address,
    standby_dealers: int = 0,
    clients: int = 1,
    **overrides: object,
) -> LocalCluster:
    """A cluster of the model in ``model`` that is not started yet; ``overrides`` go to every party's configuration."""
    _, shares = share_model(ModelFolder.load(model), parties, folder / "shares")
    settings = {"timeouts": TIMEOUTS, **overrides}
    return LocalCluster(
        shares, folder, overrides=settings, route=route, standby_dealers=standby_dealers, clients=clients
    )
