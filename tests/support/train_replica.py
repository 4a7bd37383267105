"""One rank of ``test_two_processes_train_one_model``: trains, and writes the weights that it begins and ends with.

It begins at a teacher's weights, with quadratic activations fitted to the teacher's. The objective is MPCFormer's first
stage, which does not reach the head.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mpcvit.data.image_set import ImageSet
from mpcvit.models.kinds import Activation, AttentionKind, Norm
from mpcvit.train.config import Pipeline, Start, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.objectives.mpcformer import HiddenStates
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.replica import joined
from mpcvit.train.run import begin, build_model
from mpcvit.train.trainer import fit
from tests.support.columns import configured, varied

ARCHITECTURE = configured(
    image_size=8,
    patch_size=4,
    classes=2,
    dim=16,
    hidden=24,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),) * 2,
    activation=(Activation.QUAD, Activation.RELU),
    norms=((Norm.LAYERNORM, Norm.BATCHNORM),) * 2,
)
CONFIG = TrainConfig(
    model="tiny",
    architecture=ARCHITECTURE,
    start=Start.TEACHER,
    epochs=2,
    batch_size=16,
    validation=16,
    lr=1e-2,
    sam_rho=0.05,
    ema_decay=0.5,
    pipeline=Pipeline.TENSORS,
)


def main(folder: Path) -> None:
    """Train in two stages and write this rank's weights to ``folder``."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = ImageSet(
        rng.integers(0, 256, (96, 8, 8, 3), dtype=np.uint8), np.arange(96, dtype=np.int64) % 2, ("a", "b")
    )
    model = build_model(CONFIG, 2)
    taught = varied(ARCHITECTURE, activation=(Activation.GELU,) * 2)
    teacher = Teacher(build_model(replace(CONFIG, seed=1, architecture=taught), 2))
    with joined("cpu") as replica:
        begin(model, CONFIG, teacher.model, images)
        save_file(dict(model.state_dict()), folder / f"begun{replica.rank}.safetensors")
        fit(model, CONFIG, images, folder / "before", objective=HiddenStates(teacher), device="cpu")
        fit(model, CONFIG, images, folder, objective=CrossEntropy(), device="cpu")
        save_file(dict(model.state_dict()), folder / f"rank{replica.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
