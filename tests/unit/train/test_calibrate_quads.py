"""Quads begin as fits to the teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.models.kinds import Activation
from mpcvit.models.vit import patchify
from mpcvit.train.config import Start
from mpcvit.train.run import begin, build_model
from tests.support.columns import varied
from tests.support.training import CONFIG, TINY, same_weights


def test_quads_begin_as_the_fit_to_the_teachers_activation(images: ImageSet) -> None:
    """Where the teacher has another one: least squares on what its MLP reads, on pictures that are not held out.

    No random number is drawn, and a quad that the teacher has, too, is copied.
    """
    had = varied(TINY, activation=(Activation.GELU, Activation.QUAD))
    config = replace(CONFIG, start=Start.TEACHER, drop_path=0.0)
    teacher = build_model(replace(config, architecture=had, seed=1), 2)
    with torch.no_grad():
        teacher.blocks[0].mlp.fc1.weight.mul_(20)  # values at which GELU bends
        teacher.blocks[1].mlp.act.coefficients.copy_(torch.tensor([1.0, 2.0, 3.0]))
    quads = varied(TINY, activation=(Activation.QUAD,) * 2)
    students = []
    for seed in (2, 3):
        student = build_model(replace(config, architecture=quads, seed=seed), 2)
        before = torch.random.get_rng_state()
        begin(student, config, teacher, images)
        assert torch.equal(torch.random.get_rng_state(), before)
        students.append(student)
    assert same_weights(*students)
    first, second = (block.mlp.act.coefficients for block in students[0].blocks)
    assert second.tolist() == [1.0, 2.0, 3.0]
    held_out = replace(config, validation=80)  # so that the 16 pictures that are left are all looked at
    begin(students[1], held_out, teacher, images)
    for pictures, coefficients in (
        (images.split(16, 0)[0].spread(64), first),
        (images.split(80, 0)[0], students[1].blocks[0].mlp.act.coefficients),
    ):
        data = data_set("cifar10")
        block = teacher.blocks[0]
        x = teacher.patch_embed(patchify(normalise(pictures.images, data.mean, data.std), 4)) + teacher.pos_embed
        read = block.mlp.fc1(block.norm2(x + block.attn(block.norm1(x)))).detach().double().numpy().ravel()
        gelu = torch.nn.functional.gelu(torch.from_numpy(read)).numpy()
        expected = np.polynomial.polynomial.polyfit(read, gelu, 2)
        assert np.allclose(coefficients.detach().numpy(), expected, atol=1e-4)
