"""Compress, quantize, score: from a trained model to a smaller one on secret shares, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mpcvit.data.image_set import ImageSet
from mpcvit.store.trained import model_digest
from tests.e2e.test_commands import mpcvit, mpcvit_json, refused


def _write_images(images: ImageSet, folder: Path) -> None:
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        target = folder / images.classes[label] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)


@pytest.fixture
def data(tiny_pictures: ImageSet, tmp_path: Path) -> Path:
    """Twelve pictures for calibration and the same for tests."""
    for part in ("train", "test"):
        _write_images(tiny_pictures, tmp_path / "data" / part)
    return tmp_path / "data"


def test_from_a_trained_model_to_a_smaller_one_on_shares(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    """One model compressed, quantized, and scored by all four executors; the report has a row for it."""
    small, quantized = tmp_path / "small", tmp_path / "quantized"
    change = mpcvit_json(
        "compress", str(tiny_folder), "mixed_rank", "reduction=0.1", "step=1", "--data", str(data), "--out", str(small)
    )
    assert change["pass"]["reduction"] == 0.1
    assert change["after"]["parameters"] < change["before"]["parameters"]
    (step,) = json.loads((small / "compression.json").read_text())
    assert (step["pass"], step["pictures"], step["of"]) == ("mixed_rank", 12, model_digest(tiny_folder))
    done = mpcvit_json(
        "quantize", str(small), "--data", str(data), "--out", str(quantized), "--name", "small",
        "--method", "minmax", "--activation-bits", "6",
    )  # fmt: skip
    assert done["quantization"]["bits"] == {"weight": 8, "activation": 6}
    assert any("not clamped" in one["instead"] for one in done["replaced"])
    assert "blocks.*.attn.qkv input" in [where for one in done["replaced"] for where in one["patterns"]]
    assert done["cost"]["after"]["material_bytes"] < done["cost"]["before"]["material_bytes"]
    assert done["cost"]["after"].keys() == {"rounds", "bytes_sent", "material_bytes"}
    common = ("eval", "--model", str(quantized), "--data", str(data / "test"))
    scores = {name: mpcvit_json(*common, "--executor", name) for name in ("float", "quantized", "reference")}
    assert {name: score["n"] for name, score in scores.items()} == dict.fromkeys(scores, 12)
    assert scores["quantized"]["max_abs_logit_diff"] > 0
    out = tmp_path / "report"
    report = mpcvit_json(
        "report", "accuracy", str(quantized), "--data", str(data), "--out", str(out), "--secure", "4"
    )  # fmt: skip
    (row,) = report["models"]
    assert set(row["accuracy"]) == {"float", "quantized", "reference", "secure"}
    assert row["accuracy"]["secure"]["n"] == 4
    assert row["accuracy"]["secure"]["agreement_with_reference"] == 1.0
    assert {path.name for path in out.iterdir()} >= {"accuracy.json", "accuracy.png", "accuracy.html"}
    assert "quantized" in mpcvit("report", "accuracy", str(quantized), "--data", str(data), "--out", str(out)).stdout


def test_passes_are_listed_with_their_settings() -> None:
    """Names, what they do, and settings with defaults."""
    listed = mpcvit("compress", "--list").stdout
    for words in ("mixed_rank", "minivit", "evit", "spvit", "window_pool", "repavit", "nvit", "lpvit", "reduction="):
        assert words in listed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compress", "FOLDER", "magic"), "magic"),
        (("compress", "FOLDER", "mixed_rank", "reduction=2"), "reduction"),
        (("compress", "FOLDER", "mixed_rank", "colour=red"), "colour=red"),
        (("compress", "FOLDER", "mixed_rank"), "no settings"),
        (("compress", "FOLDER", "evit", "ratio=0"), "ratio"),
        (("compress", "FOLDER", "evit", "ratio=0.5", "blocks=1.5"), "1.5"),
        (("compress", "FOLDER", "evit", "ratio=0.5", "blocks=true"), "True"),
        (("compress", "FOLDER", "nvit", "cost=0.9", "seed=-1"), "seed -1"),
        (("compress", "FOLDER", "mixed_rank", "reduction=0.5", "seed=-1"), "seed -1"),
        (("compress", "FOLDER", "repavit", "theta=0.5", "theta=0.6"), "theta=0.6"),
        (("compress", "FOLDER", "repavit", "theta=0.5", "--factors", "some"), "some"),
        (("compress", "FOLDER", "lpvit", "sparsity=0.5", "block=1000"), "1000 x 1000"),
        (("quantize", "FOLDER", "--name", "x", "--method", "magic"), "magic"),
        (("quantize", "FOLDER", "--name", "x", "--weight-bits", "0"), "0 weight bits"),
        (("quantize", "FOLDER", "--name", "x", "--dealt-mib", "9", "--lowest-bits", "9"), "9 bits"),
        (("quantize", "FOLDER", "--name", "x", "--dealt-mib", "9", "--lowest-bits", "1"), "1 activation bits"),
        (("quantize", "FOLDER", "--name", "x", "--dealt-mib", "0.001", "--lowest-bits", "8"), "a budget"),
        (("quantize", "FOLDER", "--name", "x", "--dealt-mib", "nan"), "--dealt-mib nan"),
        (("quantize", "FOLDER", "--name", "x", "--dealt-mib", "inf"), "--dealt-mib inf"),
        (("quantize", "FOLDER", "--name", "x", "--dealt-mib", "-1"), "--dealt-mib -1"),
        (("quantize", "FOLDER", "--name", "x", "--steps", "9"), "--steps"),
        (
            ("quantize", "FOLDER", "--name", "x", "--config", "c.json", "--method", "mse", "--reconstruct"),
            "--config and --method, --reconstruct",
        ),
    ],
)
def test_bad_settings_are_named(arguments: tuple[str, ...], words: str, tiny_folder: Path, data: Path) -> None:
    """The error says what was found."""
    command = [str(tiny_folder) if argument == "FOLDER" else argument for argument in arguments]
    error = refused(*command, "--data", str(data), "--out", str(data / "out"), code=4)
    assert error["reason"] == "CONFIG"
    assert words in error["got"]


def test_a_model_that_is_not_quantized_has_no_such_score(tiny_folder: Path, data: Path) -> None:
    """The executor 'quantized' asks for a folder that was quantized."""
    arguments = ("eval", "--model", str(tiny_folder), "--data", str(data), "--executor", "quantized")
    assert refused(*arguments, code=4)["reason"] == "CONFIG"


@pytest.mark.parametrize(
    "arguments", [("compress", "FOLDER", "repavit", "theta=0.5"), ("quantize", "FOLDER", "--name", "x")]
)
def test_a_file_in_the_place_of_the_folder_is_refused_at_once(
    arguments: tuple[str, ...], tiny_folder: Path, data: Path
) -> None:
    """Nothing is computed for a result that could not be written."""
    (data / "taken").write_text("")
    command = [str(tiny_folder) if argument == "FOLDER" else argument for argument in arguments]
    error = refused(*command, "--data", str(data), "--out", str(data / "taken"), code=4)
    assert error["reason"] == "CONFIG"
    assert "taken" in error["got"]


def test_more_pictures_than_there_are_is_refused(tiny_folder: Path, data: Path) -> None:
    """Where a number is asked for, it is that number."""
    arguments = ("quantize", str(tiny_folder), "--name", "x", "--images", "13", "--out", str(data / "out"))
    error = refused(*arguments, "--data", str(data), code=4)
    assert "--images 13 for a folder of 12" in error["got"]


def test_reconstruction_and_its_table(tiny_folder: Path, data: Path) -> None:
    """People see where values are coarse, and what an inference takes before and after."""
    arguments = ("--method", "minmax", "--activation-bits", "4", "--reconstruct", "--steps", "2", "--images", "12")
    shown = mpcvit(
        "quantize", str(tiny_folder), "--name", "x", "--data", str(data), "--out", str(data / "out"), *arguments
    ).stdout
    for words in ("blocks.*.mlp.fc2 input", "material bytes", "before", "after", "rounds"):
        assert words in shown
