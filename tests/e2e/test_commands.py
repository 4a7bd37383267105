"""The command line end to end, as a user types it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcvit import __version__, zoo
from mpcvit.cli.main import app
from mpcvit.data.image_set import ImageSet
from parties.local.cluster import LocalCluster
from tests.support.processes import MARK, alive


def mpcvit(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command; it must end with ``code``."""
    run = subprocess.run(
        [sys.executable, "-m", "mpcvit.cli", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == code, run.stdout + run.stderr
    return run


def mpcvit_json(*arguments: str, code: int = 0) -> dict[str, Any]:
    """The JSON object, and nothing else, that a command prints on standard output."""
    document: dict[str, Any] = json.loads(mpcvit(*arguments, "--json", code=code).stdout)
    return document


def refused(*arguments: str, code: int) -> dict[str, str]:
    """The error of a command that ends with ``code``. It runs in this process, as a new one takes seconds to import."""
    run = CliRunner().invoke(app, [*arguments, "--json"])
    assert run.exit_code == code, run.output
    error: dict[str, str] = json.loads(run.stdout)["error"]
    return error


def test_demo_classifies_the_bundled_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's object has all promised fields, the answers agree, and all that it started is gone afterwards.

    Of a hundred inferences up to one needs another attempt, as ``mpcvit cost`` says, and costs more: then the costs
    are those of a second one.
    """
    monkeypatch.setenv(MARK, mark := secrets.token_hex(8))
    declared = mpcvit_json("cost")
    assert declared["repeat_probability"] < 0.01
    results = [mpcvit_json("demo")]
    if results[0]["rounds"] > declared["rounds"]:
        results.append(mpcvit_json("demo"))
    for result in results:
        assert result["label"] == result["label_plaintext"] == "ship"
        assert result["max_abs_logit_diff"] <= 0.05
        assert result["image"] == "ship.jpg"
        assert result["model"] == zoo.DEFAULT
        assert result["online_s"] > 0
        assert result["offline_s"] > 0
        assert len(result["bytes_sent"]) == len(result["material_bytes"]) == 2
        secure, plain = result["probabilities"], result["probabilities_plaintext"]
        assert max(abs(secure[label] - plain[label]) for label in secure) < 0.02
    for measure in ("rounds", "bytes_sent", "material_bytes"):
        assert results[-1][measure] == declared[measure]
    assert alive(mark) == set()


@pytest.mark.slow
def test_a_demo_that_is_terminated_leaves_nothing(tmp_path: Path) -> None:
    """Neither processes nor the folder with shares and keys, while it starts parties or asks them."""
    environment = {**os.environ, MARK: (mark := secrets.token_hex(8)), "TMPDIR": str(tmp_path)}
    for last in ("starting", "classifying"):
        demo = subprocess.Popen(
            [sys.executable, "-m", "mpcvit.cli", "demo"], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert demo.stderr is not None
        assert any(line.startswith(last) for line in demo.stderr)
        demo.terminate()
        demo.communicate(timeout=60)
        assert demo.returncode == 143
        assert alive(mark) == set()
        assert not list(tmp_path.glob("mpcvit-demo-*"))


def test_version() -> None:
    """One line; nothing else is loaded for it."""
    assert CliRunner().invoke(app, ["--version"]).output == f"mpcvit {__version__}\n"


def test_demo_for_people(tiny_folder: Path, tmp_path: Path) -> None:
    """Without --json there is a table with labels, seconds, rounds and bytes."""
    picture = tmp_path / "x.png"
    Image.fromarray(np.full((8, 8, 3), 90, dtype=np.uint8)).save(picture)
    output = mpcvit("demo", "--model", str(tiny_folder), "--image", str(picture)).stdout
    for words in ("secure", "plaintext", "largest logit difference", "online", "offline", "rounds", "from the dealer"):
        assert words in output


@pytest.mark.parametrize(
    ("arguments", "reason", "code"),
    [
        (["demo", "--model", "nonsense"], "MODEL_FILE", 1),
        (["demo", "--image", "missing.jpg"], "INVALID_INPUT", 4),
        (["infer", "x.png", "-c", "missing.yaml"], "CONFIG", 4),
        (["eval", "--data", "missing"], "INVALID_INPUT", 4),
        (["eval", "--data", ".", "--executor", "magic"], "CONFIG", 4),
        (["train", "nonsense", "--data", "x", "--out", "y"], "CONFIG", 4),
        (["model", "share", "nonsense", "--out", "x"], "MODEL_FILE", 1),
        (["model", "export", "--out", "x", "--name", "x", "--data", "x"], "CONFIG", 4),
        (["model", "export", "--timm", "nonsense", "--noise", "--out", "x", "--name", "x"], "CONFIG", 4),
        (["cost", "--engine", "fast", "--parties", "3"], "CONFIG", 4),
        (["cost", "--objective", "beauty"], "CONFIG", 4),
        (["bench", "latency", "--engine", "warp"], "CONFIG", 4),
        (["bench", "latency", "--network", "moon"], "INVALID_INPUT", 4),
    ],
)
def test_errors_are_objects_with_exit_codes(arguments: list[str], reason: str, code: int) -> None:
    """With --json an error is an object that says what was found, what was expected and what to do."""
    error = refused(*arguments, code=code)
    assert error["reason"] == reason
    assert error["got"]
    assert error["expected"]
    assert error["remedy"]


def test_cost_of_the_shipped_model() -> None:
    """The cost command adds up for both engines; openings of equal depth share a round on the fast one."""
    fast, result = mpcvit_json("cost"), mpcvit_json("cost", "--engine", "stock")
    steps = fast["steps"].values()
    assert fast["engine"] == "fast"
    assert fast["rounds"] < fast["setup"]["rounds"] + sum(step["rounds"] for step in steps)
    assert fast["bytes_sent"][0] == fast["setup"]["bytes_sent"][0] + sum(step["bytes_sent"][0] for step in steps)
    assert fast["material_bytes"][1] == 32 + sum(step["material_bytes"][1] for step in steps)
    assert 0 < fast["repeat_probability"] < 0.02
    assert fast["rounds"] * 4 < result["rounds"]
    assert result["rounds"] == result["setup"]["rounds"] + sum(node["rounds"] for node in result["nodes"].values())
    assert result["bytes_sent"][0] == result["setup"]["bytes_sent"][0] + sum(
        node["bytes_sent"][0] for node in result["nodes"].values()
    )
    assert "total" in mpcvit("cost").stdout
    assert mpcvit_json("cost", "--parties", "3")["rounds"] > result["rounds"]


def test_cost_of_a_random_model() -> None:
    """Models that ``bench latency --list`` shows have costs, too."""
    result = mpcvit_json("cost", "--model", "vit_7_4_32.scaling.identity", "--objective", "rounds")
    assert result["model"] == "vit_7_4_32.scaling.identity"
    assert 40 < result["rounds"] < 90
    assert mpcvit_json("cost")["model"] == "mpcvit_cifar10"


def _write_images(images: ImageSet, folder: Path) -> None:
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        target = folder / images.classes[label] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)


def test_eval_on_every_executor(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Float, reference and secure score the same pictures and agree; secure reports its cost."""
    _write_images(tiny_pictures, tmp_path)
    common = ("eval", "--model", str(tiny_folder), "--data", str(tmp_path))
    plain, reference = (mpcvit_json(*common, "--executor", executor) for executor in ("float", "reference"))
    secure = mpcvit_json(*common, "--executor", "secure", "--limit", "6")
    assert (plain["n"], reference["n"], secure["n"]) == (12, 12, 6)
    assert plain["agreement_with_float"] == 1.0
    assert plain["max_abs_logit_diff"] == 0.0
    assert reference["max_abs_logit_diff"] < 0.05
    assert secure["max_abs_logit_diff"] < 0.05
    assert secure["agreement_with_reference"] == 1.0
    assert secure["cost"]["rounds"] > 0
    assert 0 <= plain["top1"] <= 1


def test_owner_s_and_client_s_path(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """export, share, serve, infer: a model goes from its float weights to an answer by separate commands."""
    _write_images(tiny_pictures, tmp_path / "data/train")
    exported = mpcvit_json(
        "model", "export", str(tiny_folder), "--data", str(tmp_path / "data"),
        "--out", str(tmp_path / "exported"), "--name", "mine", "--version", "7",
    )  # fmt: skip
    assert exported["fidelity"] < 1e-6
    shared = mpcvit_json("model", "share", str(tmp_path / "exported"), "--out", str(tmp_path / "shares"))
    picture = tmp_path / "x.png"
    Image.fromarray(tiny_pictures.images[0]).save(picture)
    cluster = LocalCluster([Path(folder) for folder in shared["folders"]], tmp_path / "run")
    pinned = tmp_path / "run/client.yaml"
    pinned.write_text(pinned.read_text() + f"pins: {{mine: {shared['manifest_sha256']}}}\n")
    with cluster:
        answer = mpcvit_json("infer", str(picture), "--config", str(pinned))
        assert answer["label"] in "abc"
        assert mpcvit_json("diagnose", "--config", str(pinned))["party1"]["ok"]
        health = (tmp_path / "run/party0.yaml").read_text().split("health: ")[1].split()[0]
        assert mpcvit_json("health", health)["status"] == "SERVING"
    assert mpcvit_json("health", health, code=1)["status"] == "UNAVAILABLE"
    error = mpcvit_json("infer", str(picture), "--config", str(pinned), code=2)["error"]
    assert error["reason"] == "PEER_LOST"


def test_provision_writes_certificates(tmp_path: Path) -> None:
    """One authority, and a certificate and key for every role."""
    result = mpcvit_json("provision", str(tmp_path), "--parties", "3", "--client", "alice")
    assert result["roles"] == ["party0", "party1", "party2", "dealer", "alice.client"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "ca.crt",
        *(f"{role}.{kind}" for role in result["roles"] for kind in ("crt", "key")),
    }


def test_the_zoo_is_listed_and_shown() -> None:
    """Every shipped model has a row with its accuracy, and a card; an unknown one is refused with the names."""
    listed = mpcvit_json("zoo", "list")
    assert listed["default"] == zoo.DEFAULT
    assert [model["model"] for model in listed["models"]] == zoo.names()
    assert "8,000" in mpcvit("zoo", "list").stdout
    shown = mpcvit_json("zoo", "show")
    assert shown["card"].startswith(f"# {zoo.DEFAULT}")
    assert shown["measured"] == next(model for model in listed["models"] if model["model"] == zoo.DEFAULT)
    assert zoo.DEFAULT in mpcvit("zoo", "show").stdout
    refused = mpcvit_json("zoo", "show", "nothing", code=1)
    assert zoo.DEFAULT in refused["error"]["expected"]


def test_recipes_are_listed() -> None:
    """``mpcvit train --list`` needs no other argument."""
    assert "cifar10_teacher_small" in mpcvit("train", "--list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "cifar10_finetune", "--teacher", "nowhere"),
        ("train", "cifar10_finetune", "--start-from", "nowhere"),
        ("model", "export", "nowhere", "--name", "x"),
        ("compress", "nowhere", "repavit", "theta=0.5"),
        ("quantize", "nowhere", "--name", "x"),
        ("search", "--model", "nowhere"),
    ],
)
def test_a_trained_model_is_a_shipped_one_or_a_folder(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever else is there: the error lists the shipped ones."""
    data = () if "search" in arguments else ("--data", str(tmp_path))
    error = refused(*arguments, *data, "--out", str(tmp_path / "out"), code=1)
    assert "nowhere" in error["got"]
    assert zoo.DEFAULT in error["expected"]
