"""THE-X's norm distillation: its formula, what it leaves alone, that it teaches, what it refuses."""

from __future__ import annotations

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.models.kinds import Norm
from mpcvit.models.vit import VisionTransformer
from mpcvit.train.objectives.norm_distillation import NormDistillation
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.run import copy_matching
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE
from tests.support.models import make_model

AFFINE, LAYER = Norm.AFFINE, Norm.LAYERNORM
STUDENT = varied(BASE, norms=((AFFINE, LAYER), (LAYER, AFFINE)))
IMAGES = make_images(BASE, 16)
LABELS = torch.zeros(16, dtype=torch.int64)


def _pair() -> tuple[VisionTransformer, VisionTransformer]:
    """A student that starts from its teacher's weights, and the teacher."""
    teacher = make_model(BASE)
    student = VisionTransformer(STUDENT)
    copy_matching(teacher, student)
    return student, teacher


def test_it_is_its_formula() -> None:
    """Squared errors of the student's two affine norms on what the teacher's layer norms read."""
    student, teacher = _pair()
    read = {}
    for name in ("blocks.0.norm1", "blocks.1.norm2"):
        teacher.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: read.__setitem__(name, (inputs[0], output))
        )
    with torch.no_grad():
        teacher(IMAGES)
        expected = sum((student.get_submodule(name)(x) - y).square().mean() for name, (x, y) in read.items())
        got = NormDistillation(Teacher(teacher))(student, IMAGES, LABELS)
    assert torch.allclose(got, torch.as_tensor(expected), rtol=1e-5)


def test_only_affine_norms_learn_and_they_do() -> None:
    """Nothing else gets a gradient; after some steps the norms are the best affine maps, or nearly."""
    student, teacher = _pair()
    loss = NormDistillation(Teacher(teacher))
    affine = {f"{name}.{leaf}" for name in ("blocks.0.norm1", "blocks.1.norm2") for leaf in ("weight", "bias")}
    before = loss(student, IMAGES, LABELS)
    before.backward()
    assert {name for name, one in student.named_parameters() if one.grad is not None} == affine
    optimiser = torch.optim.Adam([student.get_parameter(name) for name in affine], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss(student, IMAGES, LABELS).backward()
        optimiser.step()
    least = 0.0
    with torch.no_grad():
        _, out = teacher.intermediates(IMAGES)
        streams = {"blocks.0.norm1": out["embed"], "blocks.1.norm2": out["block0"] + out["block1.attn"]}
        for name, x in streams.items():
            free, wanted = (x - x.mean(-1, keepdim=True)).flatten(0, 1), teacher.get_submodule(name)(x).flatten(0, 1)
            centred, target = free - free.mean(0), wanted - wanted.mean(0)
            slope = (centred * target).mean(0) / centred.square().mean(0)
            least += float((target - slope * centred).square().mean())
        after = float(loss(student, IMAGES, LABELS))
    assert least * (1 - 1e-4) < after < 1.1 * least
    assert after < 0.9 * before.item()


def test_what_has_nothing_to_learn_or_to_learn_from_is_refused() -> None:
    """A student without affine norms, a teacher of another depth, one without layer norms."""
    student, teacher = _pair()
    with pytest.raises(ConfigError, match="without affine norms"):
        NormDistillation(Teacher(teacher))(make_model(BASE), IMAGES, LABELS)
    shallow = varied(BASE, heads=(BASE.blocks[0].heads,))
    with pytest.raises(ConfigError, match="as many blocks"):
        NormDistillation(Teacher(make_model(shallow)))(student, IMAGES, LABELS)
    with pytest.raises(ConfigError, match="a teacher with layer norms"):
        NormDistillation(Teacher(make_model(STUDENT)))(student, IMAGES, LABELS)
