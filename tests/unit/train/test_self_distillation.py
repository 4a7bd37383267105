"""Self-distillation against its formula, and what it gives registers and denoisers to learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.trained import load_model, save_model
from mpcvit.train.config import ObjectiveName
from mpcvit.train.objectives.self_distillation import (
    SelfDistillationSettings,
    ShiftedView,
    ViewDistillation,
    patch_features,
)
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.run import build_model
from mpcvit.train.token_hooks import Denoiser, Registers
from tests.support.columns import varied
from tests.support.training import CONFIG, TINY, losses, train_on_cpu

CONFIGURED = replace(TINY, image_size=16)
LABELS = torch.zeros(2, dtype=torch.int64)


def _model(config: object = CONFIGURED, seed: int = 0) -> VisionTransformer:
    torch.manual_seed(seed)
    model = VisionTransformer(config).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_views_are_put_back_into_place() -> None:
    """Without positions a model's features move with the picture, so that their average is what they are."""
    model = _model()
    with torch.no_grad():
        model.pos_embed.zero_()
        for parameter in (model.patch_embed.weight,):  # the same for a mirrored patch
            kernel = parameter.reshape(-1, 3, 4, 4)
            parameter.copy_((kernel + kernel.flip(-1)).reshape(parameter.shape) / 2)
    objective = ViewDistillation(Teacher(model), SelfDistillationSettings())
    images = torch.randn(2, 3, 16, 16)
    plain = objective.averaged(images, [ShiftedView(0, 0, False)])
    moved = objective.averaged(images, [ShiftedView(1, -2, True), ShiftedView(0, 3, False), ShiftedView(-1, 0, True)])
    assert torch.allclose(moved, plain, atol=1e-5)


def test_the_loss_is_its_formula() -> None:
    """Squared error and 1 - cosine of patches behind the final norm; registers of the student do not count."""
    teacher, student = Teacher(_model()), _model(replace(CONFIGURED, registers=2, class_token=True), 1)
    images = torch.randn(2, 3, 16, 16)
    objective = ViewDistillation(teacher, SelfDistillationSettings(views=1, shift=0))
    torch.manual_seed(3)
    with torch.no_grad():
        got = objective(student, images, LABELS)
        out = student.intermediates(images)[1]
        ours = student.norm(out["block1"])[:, 3:].reshape(2, 4, 4, 16)
        expected = []
        for flip in (False, True):
            wanted = objective.averaged(images, [ShiftedView(0, 0, flip)])
            expected.append((ours - wanted).square().mean() + (1 - cosine_similarity(ours, wanted, dim=-1)).mean())
    assert min(abs(got - loss) for loss in expected) < 1e-5


def _distilled(hooks: tuple[object, ...], trained: tuple[str, ...], images: ImageSet, folder: Path) -> nn.Module:
    """A trained model that learns what it is itself, but for artefacts, with something added to it."""
    config = replace(
        CONFIG,
        architecture=None,
        objective=ObjectiveName.SELF_DISTILLATION,
        self_distillation=SelfDistillationSettings(views=2, shift=1),
        token_hooks=hooks,  # type: ignore[arg-type]
        trained=trained,
        drop_path=0.0,
    )
    save_model(build_model(CONFIG, 2), folder / "teacher")
    return train_on_cpu(config, images, folder / "out", teacher=folder / "teacher", start_from=folder / "teacher")


@pytest.mark.parametrize(
    ("hook", "trained"),
    [
        (Registers(count=3), ("registers", "blocks.1.*", "norm.*")),  # PH-Reg: registers, and a part of the model
        (Denoiser(), ("blocks.2.*", "denoiser_embed")),  # DVT: the new block alone
    ],
)
def test_what_was_added_learns_and_the_frozen_part_stays(
    hook: object, trained: tuple[str, ...], images: ImageSet, tmp_path: Path
) -> None:
    """Only what ``trained`` names changes, all of it; the loss falls; and the model may be trained on afterwards."""
    model = _distilled((hook,), trained, images, tmp_path)
    started = build_model(replace(CONFIG, token_hooks=(hook,)), 2)  # type: ignore[arg-type]
    before = {**started.state_dict(), **load_model(tmp_path / "teacher").state_dict()}
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    prefixes = tuple(pattern.rstrip("*") for pattern in trained)
    assert changed
    assert changed == {name for name in before if name.startswith(prefixes)}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert losses(tmp_path / "out")[-1] < losses(tmp_path / "out")[0]


def test_patterns_that_name_nothing_are_refused(images: ImageSet, tmp_path: Path) -> None:
    """A misspelt name would train something else."""
    with pytest.raises(ConfigError, match=r"no parameter called blocks\.9\.\*"):
        _distilled((), ("head.*", "blocks.9.*"), images, tmp_path)


def test_models_that_select_tokens_are_refused() -> None:
    """Their patches have no places."""
    model = _model(varied(CONFIGURED, reduction=(Reduction(kind=ReductionKind.EVIT, keep=8), None)))
    with pytest.raises(ConfigError, match="selects tokens"):
        patch_features(model, model.intermediates(torch.randn(1, 3, 16, 16))[1])
    with pytest.raises(ConfigError, match="at least 1 view"):
        SelfDistillationSettings(views=0)
