"""Where commands write: checked first, whole or not at all, in a typed error if not."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.exported import ModelFolder
from mpcvit.store.out_folder import check_empty, check_folder, check_result, storage_error, written
from mpcvit.store.shared import load_share
from mpcvit.store.trained import model_digest, save_model
from mpcvit.wire.owners import ANYBODY
from parties.local.provision import provision_local
from tests.e2e.test_compression_commands import _write_images


@pytest.fixture
def data(tiny_pictures: ImageSet, tmp_path: Path) -> Path:
    """Twelve pictures for calibration."""
    _write_images(tiny_pictures, tmp_path / "data" / "train")
    return tmp_path / "data"


#: Commands that write to OUT, with what they would read.
COMMANDS: dict[str, list[str]] = {
    "export": ["model", "export", "MODEL", "--data", "DATA", "--name", "x", "--out", "OUT"],
    "share": ["model", "share", "MODEL", "--out", "OUT"],
    "compress": ["compress", "MODEL", "repavit", "theta=0.5", "--data", "DATA", "--out", "OUT"],
    "quantize": ["quantize", "MODEL", "--data", "DATA", "--name", "x", "--out", "OUT"],
    "train": ["train", "cifar10_finetune", "--data", "no pictures", "--out", "OUT"],
    "search": ["search", "--data", "no pictures", "--out", "OUT"],
    "report": ["report", "latency", "MODEL", "--data", "no pictures", "--out", "OUT"],
    "accuracy": ["report", "accuracy", "MODEL", "--data", "no pictures", "--out", "OUT"],
    "check": ["model", "check", "MODEL", "--worst", "OUT"],
    "data": ["data", "cifar10", "OUT"],
    "provision": ["provision", "OUT"],
}
#: Those whose result is not added to what is there.
FRESH = ("export", "share", "compress", "quantize")


def _command(name: str, out: Path, model: Path, data: Path) -> list[str]:
    places = {"MODEL": str(model), "DATA": str(data), "OUT": str(out)}
    return [*(places.get(word, word) for word in COMMANDS[name]), "--json"]


def _error(arguments: list[str], code: int = 4) -> dict[str, str]:
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == code, run.output
    error: dict[str, str] = json.loads(run.stdout)["error"]
    return error


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_to_is_refused_first(
    name: str, tiny_folder: Path, data: Path, tmp_path: Path
) -> None:
    """A file, a path under one, and where even root may make nothing: CONFIG, before pictures are looked for."""
    (tmp_path / "taken").write_text("mine")
    places = {tmp_path / "taken": "Not a directory", tmp_path / "taken/x/y": "Not a directory", Path("/proc/x"): ""}
    before = sorted(tmp_path.iterdir())
    for out, why in places.items():
        error = _error(_command(name, out, tiny_folder, data))
        assert error["reason"] == "CONFIG"
        assert f"{out}: {why}" in error["got"]
        assert "folder" in error["remedy"]
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"data", "provision"}))  # which read nothing
def test_a_refused_command_leaves_no_folder(name: str, data: Path, tmp_path: Path) -> None:
    """One that fails after the check, for want of a model, pictures or a network, has made nothing."""
    run = CliRunner().invoke(app, _command(name, tmp_path / "a/b", tmp_path / "nowhere", data))
    assert run.exit_code in (1, 4), run.output
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", FRESH)
def test_other_things_are_not_overwritten(name: str, tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    """A folder that holds something else is refused; one with hidden files alone is as good as empty."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    error = _error(_command(name, out, tiny_folder, data))
    assert "which holds thesis.txt" in error["got"]
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").rename(out / ".gitkeep")
    check_empty(out)


def test_train_does_not_overwrite_a_model(tiny_model: VisionTransformer, tmp_path: Path) -> None:
    """Training continues its own runs; a model of another origin is not one."""
    save_model(tiny_model, tmp_path / "other")
    digest = model_digest(tmp_path / "other")
    error = _error(_command("train", tmp_path / "other", Path(), Path()))
    assert "model.safetensors" in error["got"]
    assert model_digest(tmp_path / "other") == digest


def test_an_earlier_export_is_replaced(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    """A folder with model.json may be exported to again; what was quantized of the old one goes."""
    out = tmp_path / "out"
    for _ in range(2):
        run = CliRunner().invoke(app, _command("export", out, tiny_folder, data))
        assert run.exit_code == 0, run.output
        assert ModelFolder.load(out).description.name == "x"
        assert not (out / "quantized").exists()
        (out / "quantized").mkdir()
        (out / "notes.txt").write_text("mine")
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.json",
        "model.safetensors",
        "notes.txt",
        "program.json",
        "quantized",
        "weights.safetensors",
    }


def test_shares_are_replaced_by_request_alone(tiny_folder: Path, tmp_path: Path) -> None:
    """Without --replace the old ones stay; with it none of them is left, and other files are."""
    out = tmp_path / "out"
    command = _command("share", out, tiny_folder, tmp_path)
    assert CliRunner().invoke(app, [*command, "--parties", "3"]).exit_code == 0
    before = (out / "party0/share.safetensors").read_bytes()
    error = _error(command)
    assert "party0, party1, party2" in error["got"]
    assert "--replace" in error["expected"]
    assert (out / "party0/share.safetensors").read_bytes() == before
    (out / "notes.txt").write_text("mine")
    run = CliRunner().invoke(app, [*command, "--replace"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["folders"] == [str(out / "party0"), str(out / "party1")]
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "party0", "party1"]
    assert (out / "party0/share.safetensors").read_bytes() != before
    assert [load_share(out / f"party{index}", index, ANYBODY).index for index in range(2)] == [0, 1]
    assert (out / "party0/share.safetensors").stat().st_mode & 0o077 == 0


def _full_disk() -> None:
    """No file of this process may grow beyond 4 KiB; the system's answer is like that of a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "there"), [("export", True), ("share", False), ("provision", False), ("provision", True)]
)
def test_a_full_disk_leaves_nothing(name: str, there: bool, tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    """A write that fails half-way: a typed error, and no file is left; the same command then works."""
    out = tmp_path / "full" / "out"
    (out if there else tmp_path / "full").mkdir(parents=True)
    limit = _full_disk if name != "provision" else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
    command = [sys.executable, "-m", "mpcvit.cli", *_command(name, out, tiny_folder, data)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 4, run.stdout + run.stderr
    error = json.loads(run.stdout)["error"]
    assert error["reason"] == "CONFIG"
    assert "File too large" in error["got"]
    assert str(out) in error["got"]
    assert list((tmp_path / "full").rglob("*")) == ([out] if there else [])
    again = CliRunner().invoke(app, _command(name, out, tiny_folder, data))
    assert again.exit_code == 0, again.output


def test_checks_leave_nothing_behind(tmp_path: Path) -> None:
    """Neither folders nor files, whether there is one already or not."""
    check_folder(tmp_path / "a/b/c")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    check_folder(tmp_path / "a")
    check_result(tmp_path / "a", "model.json")
    assert not list((tmp_path / "a").iterdir())
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"--out .*link: "):
        check_folder(tmp_path / "link")
    with pytest.raises(ConfigError, match="File name too long"):
        check_folder(tmp_path / ("x" * 300))


def _interrupted(out: Path, error: type[BaseException]) -> None:
    with written(out) as folder:
        (folder / "old").write_text("new")
        raise error


def test_an_error_of_another_kind_passes_and_cleans_up(tmp_path: Path) -> None:
    """Nothing of an interrupted write is left, and what was there stays."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error):
            _interrupted(tmp_path / "out", error)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["old"]


def test_what_cannot_be_replaced_stays_with_all_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that cannot be moved away, such as a mount point: a typed error, and every old entry is there."""
    out = tmp_path / "out"
    for name in ("a", "b", "c"):
        (out / name).mkdir(parents=True)
        (out / name / "old").touch()
    real = Path.replace

    def busy(path: Path, target: Path) -> Path:
        if path == out / "b":
            raise OSError(16, "Device or resource busy")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(ConfigError, match="/b: Device or resource busy"), written(out, stale=("a", "b", "c")) as folder:
        (folder / "d").mkdir()
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == [
        "a", "a/old", "b", "b/old", "c", "c/old",
    ]  # fmt: skip


def test_what_the_system_says_of_storage() -> None:
    """Of Python, of Rust and of SQLite; a missing file, or a bug, is not among it."""

    class SafetensorError(Exception):
        pass

    rust = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    wrapped = RuntimeError("storage")
    wrapped.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert storage_error(OSError(28, "x")) == storage_error(rust) == "No space left on device"
    assert storage_error(wrapped) == "database or disk is full"
    assert storage_error(OSError(30, "x")) == "Read-only file system"
    for error in (FileNotFoundError(2, "x"), ValueError("x"), RuntimeError()):
        assert storage_error(error) is None


def test_any_command_types_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that meets it somewhere else than in --out."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "log.jsonl")

    monkeypatch.setattr("mpcvit.data.image_set.load_folder", full)
    error = _error(["train", "cifar10_finetune", "--data", "x", "--out", str(tmp_path / "out"), "--json"])
    assert (error["reason"], error["got"]) == ("CONFIG", "log.jsonl: No space left on device")


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "mps", "gpu", "cpu:1", ""])
@pytest.mark.parametrize("name", ["train", "search"])
def test_a_device_that_is_not_there_is_refused_first(
    name: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONFIG with those that there are, before pictures are looked for."""
    import torch

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    error = _error([*_command(name, tmp_path / "out", Path(), Path()), "--device", device])
    assert error["reason"] == "CONFIG"
    assert error["got"] == f"device '{device}'"
    assert error["expected"].startswith("one of auto, cpu: ")
    assert torch.__version__ in error["expected"]


def test_devices_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two GPUs: by kind or number."""
    import torch

    from mpcvit.train.device import require_device

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for device in ("auto", "cpu", "cuda", "cuda:0", "cuda:1"):
        require_device(device)
    with pytest.raises(ConfigError, match="auto, cpu, cuda:0, cuda:1"):
        require_device("cuda:2")


def test_provisioning_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure half-way nothing is left, not even folders; other files are, and a rerun works."""
    from parties.local import provision

    real, count = provision._write, []

    def full(path: Path, content: bytes, mode: int) -> None:
        count.append(path)
        if len(count) == 3:
            path.write_bytes(b"")
            raise OSError(28, "No space left on device")
        real(path, content, mode)

    monkeypatch.setattr(provision, "_write", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        provision_local(tmp_path / "a/b", ["party0", "party1"])
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    (tmp_path / "a/mine").write_text("")
    count.clear()
    with pytest.raises(ConfigError, match="No space left on device"):
        provision_local(tmp_path / "a", ["party0", "party1"])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]
    provision_local(tmp_path / "a", ["party0", "party1"])
    assert (tmp_path / "a/ca.crt").stat().st_size > 0
    shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize("role", ["a/b", "../x", "", "é", "x" * 80, "two words", "-x"])
def test_roles_are_dns_names(role: str, tmp_path: Path) -> None:
    """Others are refused before anything is written."""
    with pytest.raises(ConfigError, match="roles "):
        provision_local(tmp_path / "tls", ["party0", role])
    with pytest.raises(ConfigError, match="'party0', 'party0'"):
        provision_local(tmp_path / "tls", ["party0", "party0"])
    assert not (tmp_path / "tls").exists()


def test_keys_without_an_authority_are_not_overwritten(tmp_path: Path) -> None:
    """A folder may hold another organisation's key and no ca.crt."""
    (tmp_path / "party1.key").write_text("mine")
    with pytest.raises(ConfigError, match=r"certificates already: party1\.key"):
        provision_local(tmp_path, ["party0", "party1"])
    assert [path.name for path in tmp_path.iterdir()] == ["party1.key"]
