"""The training loop: it learns, resumes exactly, and refuses foreign checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.store.codec import to_document
from mpcvit.store.trained import load_model
from mpcvit.train import recorder
from mpcvit.train.accuracy import accuracy
from mpcvit.train.checkpoint import save_checkpoint
from mpcvit.train.config import FloatFormat, Pipeline, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.optimizer import make_optimizer
from mpcvit.train.run import build_model, train
from mpcvit.train.trainer import fit
from tests.support.training import CONFIG, CPU, dark_and_bright, same_weights, train_on_cpu

EVERYTHING = replace(
    CONFIG,
    optimizer="adamw",
    mixup=0.8,
    cutmix=1.0,
    mixup_epochs=2,
    sam_rho=0.05,
    ema_decay=0.9,
    erasing=0.5,
    precision=FloatFormat.BFLOAT16,
)


def test_training_learns_and_writes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two epochs of a preset tell dark from bright; the folder holds model, configuration, log and checkpoint.

    Progress goes to standard error: standard output is for the result.
    """
    images = dark_and_bright(32)
    config = TrainConfig(model="mpcvit_6_4_32", epochs=2, batch_size=16, validation=16, lr=2e-3)
    model = train(config, images, tmp_path, device="cpu", workers=0)
    assert accuracy(model, images, data_set("cifar10"), CPU) > 0.9
    assert torch.equal(load_model(tmp_path).head.weight, model.head.weight)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [0, 1]
    assert json.loads((tmp_path / "train.json").read_text())["config"] == to_document(config)
    assert list((tmp_path / "tensorboard").iterdir())
    said = capsys.readouterr()
    assert said.out == ""
    assert "validation" in said.err


def test_tensorboard_is_optional(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package there is the log alone."""
    monkeypatch.setattr(recorder, "find_spec", lambda _: None)
    train_on_cpu(replace(CONFIG, epochs=1), images, tmp_path)
    assert not (tmp_path / "tensorboard").exists()
    assert (tmp_path / "log.jsonl").is_file()


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, pipeline=Pipeline.PICTURES), EVERYTHING],
    ids=["tensors", "pictures", "everything"],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    config: TrainConfig, images: ImageSet, tmp_path: Path
) -> None:
    """Stopping in the second epoch and starting again gives bit-identical weights, with every option."""

    def stop(epochs_done: int, _: nn.Module, line: Mapping[str, float]) -> None:
        if epochs_done == 2:
            raise KeyboardInterrupt

    def run(folder: Path, stop: Callable[[int, nn.Module, Mapping[str, float]], None] | None = None) -> nn.Module:
        model = build_model(config, 2)
        return fit(
            model, config, images, folder, objective=CrossEntropy(0.1), device="cpu", workers=0, after_epoch=stop
        )

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop)
    resumed = run(tmp_path / "parts")
    assert same_weights(whole, resumed)
    assert all(tensor.isfinite().all() for tensor in whole.state_dict().values())
    log = [json.loads(line)["epoch"] for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert log == [0, 1, 2]


def test_a_foreign_checkpoint_is_refused(images: ImageSet, tmp_path: Path) -> None:
    """A folder of another configuration, or of other facts such as the teacher, is not continued silently."""
    config = replace(CONFIG, epochs=1)
    train_on_cpu(config, images, tmp_path)
    with pytest.raises(ConfigError, match="another configuration"):
        train_on_cpu(replace(config, lr=1e-3), images, tmp_path)
    with pytest.raises(ConfigError, match="another configuration"):
        train_on_cpu(config, images, tmp_path, facts={"teacher": "1234"})


def test_a_checkpoint_of_before_a_field_existed_is_continued(images: ImageSet, tmp_path: Path) -> None:
    """Fields that a checkpoint does not know have their defaults."""
    model = build_model(CONFIG, 2)
    document = {
        name: value for name, value in to_document(CONFIG).items() if name not in ("mixup", "before", "sam_rho")
    }
    save_checkpoint(tmp_path, model, make_optimizer(model, CONFIG), {"config": document, "epochs_done": CONFIG.epochs})
    assert same_weights(train_on_cpu(CONFIG, images, tmp_path), model)


def test_objectives_see_the_bare_model_and_soft_targets_with_mixup(images: ImageSet, tmp_path: Path) -> None:
    """Mixed targets are distributions; from ``mixup_epochs`` on they are smoothed labels."""
    model = build_model(CONFIG, 2)
    seen: list[torch.Tensor] = []

    def objective(given: nn.Module, pictures: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert given is model
        seen.append(targets)
        return CrossEntropy()(given, pictures, targets)

    config = replace(CONFIG, epochs=2, mixup=1.0, mixup_epochs=1, smoothing=0.1)
    fit(model, config, images, tmp_path, objective=objective, device="cpu", workers=0)
    assert all(targets.shape == (16, 2) and torch.allclose(targets.sum(1), torch.ones(16)) for targets in seen)
    mixed, plain = torch.stack(seen[:5]), torch.stack(seen[5:])
    assert set(plain.flatten().tolist()) == {np.float32(0.05).item(), np.float32(0.95).item()}
    assert len(mixed.unique()) > 2


def test_averaged_weights_are_the_formula_and_what_is_kept(images: ImageSet, tmp_path: Path) -> None:
    """One step per epoch: w1, then 1 - 2^(-2/3) of it and the rest from w2, and so on: timm's warm-up of the decay."""
    config = replace(CONFIG, batch_size=80, ema_decay=0.999)
    steps: list[torch.Tensor] = []
    model = build_model(config, 2)
    kept = fit(
        model,
        config,
        images,
        tmp_path,
        objective=CrossEntropy(),
        device="cpu",
        workers=0,
        after_epoch=lambda _, model, line: steps.append(model.state_dict()["head.weight"].clone()),
    )
    expected = steps[0]
    for number, weights in enumerate(steps[1:], start=1):
        decay = 1 - (1 + number) ** (-2 / 3)
        expected = decay * expected + (1 - decay) * weights
    assert torch.allclose(kept.state_dict()["head.weight"], expected, atol=1e-6)
    assert torch.equal(load_model(tmp_path).head.weight, kept.state_dict()["head.weight"])
