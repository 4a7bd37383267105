"""The training recipe on a few pictures: it learns, resumes exactly, and refuses foreign checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.files import load_model
from mpcvit.train import trainer
from mpcvit.train.recipes import RECIPES, TrainConfig


@pytest.fixture
def images() -> ImageSet:
    """Two easy classes: dark and bright pictures."""
    rng = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int64) % 2
    pixels = rng.integers(0, 100, (96, 32, 32, 3)) + 150 * labels[:, None, None, None]
    return ImageSet(pixels.astype(np.uint8), labels, ("bright", "dark"))


CONFIG = TrainConfig(model="mpcvit_6_4_32", epochs=2, batch_size=16, validation=16, lr=2e-3)


def test_training_learns_and_writes_a_model(
    images: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two epochs tell dark from bright; the folder holds model, configuration, log and checkpoint.

    Progress goes to standard error: standard output is for the result.
    """
    model = trainer.train(CONFIG, images, tmp_path, device="cpu", workers=0)
    assert trainer.accuracy(model, images, torch.device("cpu")) > 0.9
    assert torch.equal(load_model(tmp_path).head.weight, model.head.weight)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [0, 1]
    said = capsys.readouterr()
    assert said.out == ""
    assert "validation" in said.err


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping after the first epoch and starting again gives bit-identical weights."""
    whole = trainer.train(CONFIG, images, tmp_path / "whole", device="cpu", workers=0)
    original = trainer._epoch

    def stop_at_second(config: TrainConfig, epoch: int, *rest: object) -> float:
        if epoch == 1:
            raise KeyboardInterrupt
        return original(config, epoch, *rest)

    monkeypatch.setattr(trainer, "_epoch", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(CONFIG, images, tmp_path / "parts", device="cpu", workers=0)
    monkeypatch.setattr(trainer, "_epoch", original)
    resumed = trainer.train(CONFIG, images, tmp_path / "parts", device="cpu", workers=0)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_foreign_checkpoint_is_refused(images: ImageSet, tmp_path: Path) -> None:
    """A folder of another configuration is not continued silently."""
    trainer.train(replace(CONFIG, epochs=1), images, tmp_path, device="cpu", workers=0)
    with pytest.raises(ConfigError, match="another configuration"):
        trainer.train(replace(CONFIG, epochs=1, lr=1e-3), images, tmp_path, device="cpu", workers=0)


def test_every_recipe_is_a_configuration() -> None:
    """Recipes build, and their docstrings promise something."""
    for recipe in RECIPES.values():
        assert isinstance(recipe(), TrainConfig)
        assert recipe.__doc__
