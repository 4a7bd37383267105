"""The committed stubs are what protos/ gives."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regenerating changes nothing; if this fails, run ``make protos``."""
    pytest.importorskip("grpc_tools", reason="needs the dev extra")
    module = runpy.run_path(str(ROOT / "protos" / "generate.py"))
    monkeypatch.setitem(module["main"].__globals__, "TARGET", tmp_path)
    module["main"]()
    committed = {path.name: path.read_text() for path in (ROOT / "mpcvit/wire/v1").glob("*.py*")}
    assert {path.name: path.read_text() for path in tmp_path.glob("*.py*")} == committed
