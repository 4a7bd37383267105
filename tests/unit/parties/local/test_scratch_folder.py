"""The folder of a local run and its logs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from mpcvit.errors import (
    ConfigError,
)
from parties.local.scratch_folder import scratch_folder


def test_logs_outlive_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's folder is deleted, but for logs after an error, which says where they are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder("x-") as folder:
        (folder / "party0.log").write_text("said")
    assert not list(tmp_path.iterdir())
    for error in (ConfigError("a", expected="b", remedy="c"), KeyError("bug")):
        with pytest.raises(type(error)) as caught:
            _fail_in(error)
        (folder,) = tmp_path.iterdir()
        assert [path.name for path in folder.iterdir()] == ["party0.log"]
        told = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
        assert f"logs of all processes are in {folder}." in told
        shutil.rmtree(folder)
    with pytest.raises(KeyboardInterrupt):
        _fail_in(KeyboardInterrupt())
    with pytest.raises(ValueError, match="early"), scratch_folder("x-"):
        raise ValueError("early")
    assert not list(tmp_path.iterdir())


def _fail_in(error: BaseException) -> None:
    with scratch_folder("x-") as folder:
        for name in ("party0.log", "client.yaml", "tls/party0.key"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("said")
        (folder / "dealer.log").touch()
        raise error
