"""``mpcvit bench`` as users run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from mpcvit.measure.network.namespaces import require_emulation
from tests.e2e.test_commands import mpcvit_json

FIELDS = {
    "model",
    "engine",
    "network",
    "online_s",
    "online_s_all",
    "offline_s",
    "rounds",
    "bytes_sent",
    "material_bytes",
    "max_abs_logit_diff",
    "argmax_match",
    "floor_s",
}


@pytest.mark.parametrize("engine", ["fast", "stock"])
def test_latency_of_an_exported_model(tiny_folder: Path, engine: str) -> None:
    """All promised fields, from real processes, with right answers; the cost is the declared one."""
    result = mpcvit_json("bench", "latency", "--model", str(tiny_folder), "--engine", engine, "--runs", "2")
    assert set(result) >= FIELDS
    assert len(result["online_s_all"]) == 2
    assert min(result["online_s_all"]) <= result["online_s"] <= max(result["online_s_all"])
    assert result["argmax_match"]
    assert result["max_abs_logit_diff"] < 0.05
    assert 0 < result["floor_s"] < result["online_s"]
    declared = mpcvit_json("cost", "--model", str(tiny_folder), "--engine", engine)
    assert (result["rounds"], result["bytes_sent"]) == (declared["rounds"], declared["bytes_sent"])


def test_load_by_several_clients(tiny_folder: Path) -> None:
    """All promised fields, from real processes, with right answers to all requests."""
    command = ("bench", "load", "--model", str(tiny_folder), "--clients", "3", "--requests", "7")
    result = mpcvit_json(*command)
    counts = {name: result.pop(name) for name in ("clients", "requests", "answered", "wrong", "overloaded", "errors")}
    assert counts == {"clients": 3, "requests": 7, "answered": 7, "wrong": 0, "overloaded": 0, "errors": 0}
    assert set(result) == {"p50_s", "p99_s", "pictures_per_s", "offline_s"}
    assert 0 < result["p50_s"] <= result["p99_s"]
    assert result["pictures_per_s"] > 0


def test_latency_on_an_emulated_network(tiny_folder: Path) -> None:
    """On the emulated WAN every round costs at least the one-way delay."""
    try:
        require_emulation()
    except ConfigError as error:
        pytest.skip(str(error))
    result = mpcvit_json("bench", "latency", "--model", str(tiny_folder), "--network", "wan", "--runs", "1")
    assert result["network"] == "wan"
    assert result["online_s"] > (result["rounds"] - 2) * 0.02
    assert result["floor_s"] > (result["rounds"] - 2) * 0.02


def test_models_side_by_side(tiny_folder: Path, tmp_path: Path) -> None:
    """``mpcvit report`` times a model, writes table, plot and page, and does not measure twice; turns add to it."""
    out = tmp_path / "out"
    command = ("report", str(tiny_folder), "--out", str(out), "--runs", "1", "--turns")
    result = mpcvit_json(*command, "1")
    (model,) = result["models"]
    assert model["latency"]["loopback"]["argmax_match"]
    assert {path.name for path in out.iterdir()} == {
        f"{tiny_folder.name}-{model['program'][:12]}.json",
        "report.json",
        "report.png",
        "report.html",
    }
    assert mpcvit_json(*command, "1") == result
    (more,) = mpcvit_json(*command, "2")["models"]
    first, both = (one["latency"]["loopback"] for one in (model, more))
    assert (both["runs"], both["online_s_all"][:1]) == (2, first["online_s_all"])
    assert both["rounds"] == first["rounds"]
