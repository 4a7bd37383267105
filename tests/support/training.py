"""A tiny model's training on a few pictures, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.train.config import Pipeline, TrainConfig
from mpcvit.train.run import train
from tests.support.columns import configured

CPU = torch.device("cpu")
TINY = configured(
    image_size=8,
    patch_size=4,
    classes=2,
    dim=16,
    hidden=24,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),) * 2,
    activation=(Activation.RELU,) * 2,
)
CONFIG = TrainConfig(
    model="tiny",
    architecture=TINY,
    epochs=3,
    batch_size=16,
    validation=16,
    lr=1e-2,
    drop_path=0.1,
    pipeline=Pipeline.TENSORS,
)


def dark_and_bright(size: int, count: int = 96) -> ImageSet:
    """Two easy classes: dark and bright pictures."""
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 2
    pixels = rng.integers(0, 100, (count, size, size, 3)) + 150 * labels[:, None, None, None]
    return ImageSet(pixels.astype(np.uint8), labels, ("bright", "dark"))


def train_on_cpu(config: TrainConfig, images: ImageSet, folder: Path, **options: Any) -> nn.Module:
    """The model that a run in ``folder`` ends with."""
    return train(config, images, folder, device="cpu", workers=0, **options)


def losses(folder: Path) -> list[float]:
    """The loss of every epoch of the run in ``folder``."""
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether ``other`` has the tensors of ``one``, bit for bit."""
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())
