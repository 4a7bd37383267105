"""A teacher's answers on disk: what is kept, that pictures come back the same, and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.store.trained import save_model
from mpcvit.train.batches import make_batches
from mpcvit.train.config import ObjectiveName, Pipeline, TrainConfig
from mpcvit.train.replica import Replica
from mpcvit.train.run import build_model
from mpcvit.train.stored_logits import ReplayedBatches, StoredLogitsSettings, spread
from tests.support.training import CONFIG, CPU, losses, same_weights, train_on_cpu

TAUGHT = replace(
    CONFIG,
    epochs=2,
    objective=ObjectiveName.STORED_LOGITS,
    stored_logits=StoredLogitsSettings(top=1),
    mixup=0.5,
    erasing=0.5,
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A model in a folder."""
    save_model(build_model(replace(CONFIG, seed=9), 2), tmp_path / "teacher")
    return tmp_path / "teacher"


def test_what_is_left_is_spread_over_the_other_classes() -> None:
    """TinyViT's sparse soft labels; with all classes stored nothing is left."""
    made = spread(torch.tensor([[0.5, 0.25]]).half(), torch.tensor([[3, 0]]), 4)
    assert torch.allclose(made, torch.tensor([[0.25, 0.125, 0.125, 0.5]]))
    assert torch.allclose(spread(torch.tensor([[0.75, 0.25]]), torch.tensor([[1, 0]]), 2), torch.tensor([[0.25, 0.75]]))


@pytest.mark.parametrize("pipeline", Pipeline)
def test_epochs_are_replayed_whatever_draws_between(images: ImageSet, pipeline: Pipeline) -> None:
    """The same augmented pictures in the same order; other epochs are others, and callers' streams are left alone."""
    config = replace(CONFIG, pipeline=pipeline, erasing=0.5)
    batches = make_batches(config, images, Replica(CPU), 0)
    replayed = ReplayedBatches(batches.epoch, lambda _, batch: batch, 5)
    once = [pictures for pictures, _ in replayed.epoch(1)]
    torch.manual_seed(3)
    np.random.seed(3)
    again = []
    for pictures, _ in replayed.epoch(1):
        again.append(pictures)
        torch.rand(7)
    assert all(map(torch.equal, once, again))
    assert len(once) == len(batches)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    for _ in again:
        torch.rand(7)
    assert torch.equal(drawn, torch.rand(1))
    assert not torch.equal(once[0], next(iter(replayed.epoch(2)))[0])


def test_a_second_student_needs_no_teacher(images: ImageSet, teacher: Path, tmp_path: Path) -> None:
    """Answers are the teacher's to the very pictures; a run without the teacher ends as the one that stored them."""
    store = tmp_path / "logits"
    first = train_on_cpu(TAUGHT, images, tmp_path / "first", teacher=teacher, teacher_logits=store)
    stored = load_file(store / "epoch0001.safetensors")
    assert stored["classes"].shape == stored["probabilities"].shape == (80, 1)
    assert (stored["classes"].dtype, stored["probabilities"].dtype) == (torch.int16, torch.float16)
    second = train_on_cpu(TAUGHT, images, tmp_path / "second", teacher_logits=store)
    assert same_weights(first, second)
    other = replace(TAUGHT, lr=1e-3, drop_path=0.5)  # another student, the same pictures
    assert not same_weights(first, train_on_cpu(other, images, tmp_path / "other", teacher_logits=store))


def test_learning_from_answers_resumes_exactly(images: ImageSet, teacher: Path, tmp_path: Path) -> None:
    """Also in an epoch whose answers are there already."""

    def stop(epochs_done: int, _: nn.Module, line: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    options = {"teacher": teacher, "teacher_logits": tmp_path / "logits"}
    whole = train_on_cpu(TAUGHT, images, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train_on_cpu(TAUGHT, images, tmp_path / "parts", after_epoch=stop, **options)
    assert same_weights(whole, train_on_cpu(TAUGHT, images, tmp_path / "parts", **options))


def test_all_classes_stored_teach_as_the_teacher_does(images: ImageSet, teacher: Path, tmp_path: Path) -> None:
    """The student comes near to its answers: cross entropy falls to about their entropy."""
    config = replace(TAUGHT, epochs=6, stored_logits=StoredLogitsSettings(top=10), mixup=0.0)
    train_on_cpu(config, images, tmp_path / "out", teacher=teacher, teacher_logits=tmp_path / "logits")
    run = losses(tmp_path / "out")
    assert run[-1] < run[0]
    probabilities = load_file(tmp_path / "logits/epoch0005.safetensors")["probabilities"].float()
    entropy = -(probabilities * probabilities.log()).sum(1).mean()
    assert run[-1] < entropy + 0.05


def test_other_pictures_are_refused(images: ImageSet, teacher: Path, tmp_path: Path) -> None:
    """Another augmentation, seed or teacher; no teacher for what is missing; and damage."""
    store = tmp_path / "logits"

    def run(config: TrainConfig, **options: object) -> None:
        train_on_cpu(config, images, tmp_path / "out", **{"teacher_logits": store, **options})

    with pytest.raises(ConfigError, match="--teacher-logits"):
        run(TAUGHT, teacher_logits=None)
    with pytest.raises(ConfigError, match="no answers of a teacher"):
        run(TAUGHT)
    run(replace(TAUGHT, epochs=1), teacher=teacher)
    for change in ({"crop_scale": 0.5}, {"seed": 1}, {"stored_logits": StoredLogitsSettings(top=2)}):
        with pytest.raises(ConfigError, match=f"with other {next(iter(change)).replace('stored_logits', 'top')}"):
            run(replace(TAUGHT, **change))
    save_model(build_model(replace(CONFIG, seed=8), 2), tmp_path / "stranger")
    with pytest.raises(ConfigError, match="with other teacher"):
        run(TAUGHT, teacher=tmp_path / "stranger")
    longer = {"teacher_logits": store}
    with pytest.raises(ConfigError, match=r"no answers of a teacher in .*epoch0001"):
        train_on_cpu(TAUGHT, images, tmp_path / "longer", **longer)
    (store / "epoch0000.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelFileError, match="epoch0000"):
        train_on_cpu(TAUGHT, images, tmp_path / "damaged", **longer)
