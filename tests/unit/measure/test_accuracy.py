"""Scores by executor: the integer-only graph, and pictures that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError, InputError
from mpcvit.measure.accuracy import Executor, evaluate
from mpcvit.models.kinds import AttentionKind
from mpcvit.store.trained import save_model
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.models import TINY, make_model


@pytest.fixture
def calibration(tiny_pictures: ImageSet) -> torch.Tensor:
    """The tiny pictures as the tiny model reads them."""
    return normalise(tiny_pictures.images, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("executor", [Executor.FLOAT, Executor.INTEGER, Executor.REFERENCE])
def test_pictures_of_another_size_are_refused(
    executor: Executor, tiny_folder: Path, tiny_pictures: ImageSet, calibration: torch.Tensor
) -> None:
    """By all executors, with the size that is expected."""
    cut = ImageSet(tiny_pictures.images[:, :4], tiny_pictures.labels, tiny_pictures.classes)
    with pytest.raises(InputError, match="3, 8, 8"):
        evaluate(tiny_folder, cut, executor, calibration=calibration)


def test_the_integer_graph_is_scored(tiny_folder: Path, tiny_pictures: ImageSet, calibration: torch.Tensor) -> None:
    """It answers as the float model, nearly; nothing is said of the reference."""
    result = evaluate(tiny_folder, tiny_pictures, Executor.INTEGER, calibration=calibration)
    assert (result.n, result.agreement_with_reference) == (12, None)
    assert result.agreement_with_float > 0.9
    assert result.max_abs_logit_diff is not None
    assert 0 < result.max_abs_logit_diff < 0.5


def test_the_integer_graph_needs_pictures(tiny_folder: Path, tiny_pictures: ImageSet) -> None:
    """Its scales are calibrated; the error says what to give."""
    with pytest.raises(ConfigError, match="--calibration"):
        evaluate(tiny_folder, tiny_pictures, Executor.INTEGER)


def test_heads_without_an_integer_form_are_named(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """The error says which, and which there are."""
    config = varied(TINY, heads=((AttentionKind.QUAD2, AttentionKind.SCALING),))
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    save_model(make_model(config), folder)
    with pytest.raises(ConfigError, match=r"heads 2quad; expected heads relu_softmax, scaling, softmax"):
        evaluate(folder, tiny_pictures, Executor.INTEGER, calibration=make_images(config, 4))


def test_the_command_calibrates_on_training_pictures(
    tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Those of --data, or of --calibration; without any it says so."""
    for part in ("train", "test"):
        for number, (pixels, label) in enumerate(zip(tiny_pictures.images, tiny_pictures.labels, strict=True)):
            folder = tmp_path / part / tiny_pictures.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pixels)).save(folder / f"{number}.png")
    arguments = ["eval", "--model", str(tiny_folder), "--executor", "integer", "--json"]
    whole = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path)])
    assert whole.exit_code == 0, whole.output
    options = ["--data", str(tmp_path / "test"), "--calibration", str(tmp_path)]
    apart = CliRunner().invoke(app, [*arguments, *options])
    first, second = (json.loads(run.stdout) for run in (whole, apart))
    assert (first["executor"], first["n"], first["top1"]) == ("integer", 12, second["top1"])
    without = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "test")])
    assert without.exit_code == 4
    assert "train" in json.loads(without.stdout)["error"]["got"]
