"""Masked autoencoding: what the model sees, what it is measured by, and that both sides learn and resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.prompts import Prompts
from mpcvit.models.vit import VisionTransformer, patchify
from mpcvit.store.trained import load_model
from mpcvit.train.config import ObjectiveName
from mpcvit.train.objectives.make import make_objective
from mpcvit.train.objectives.reconstruction import Reconstruction, ReconstructionSettings
from mpcvit.train.run import build_model
from mpcvit.train.trainer import fit
from tests.support.columns import varied
from tests.support.training import CONFIG, TINY, same_weights, train_on_cpu

SETTINGS = ReconstructionSettings(mask_ratio=0.5, decoder_width=8, decoder_heads=2)
STUDENT = replace(TINY, image_size=16, registers=1, class_token=True)
PRETRAINING = replace(CONFIG, objective=ObjectiveName.RECONSTRUCTION, reconstruction=SETTINGS, sam_rho=0.05)
LABELS = torch.zeros(3, dtype=torch.int64)


@pytest.fixture
def objective() -> Reconstruction:
    """Of a student with a class token and a register."""
    torch.manual_seed(0)
    return Reconstruction(SETTINGS, STUDENT)


def test_the_model_sees_only_visible_patches(objective: Reconstruction) -> None:
    """Other pixels in hidden patches change nothing that is predicted; other visible ones do."""
    model = VisionTransformer(STUDENT).eval()
    images = torch.randn(1, 3, 16, 16)
    order = torch.arange(16)[None]  # the upper half is visible
    lower, upper = images.clone(), images.clone()
    lower[:, :, 8:] += 1
    upper[:, :, :8] += 1
    with torch.no_grad():
        predicted, same, other = (objective.reconstructed(model, one, order) for one in (images, lower, upper))
    assert torch.equal(predicted, same)
    assert not torch.allclose(predicted[:, 8:], other[:, 8:])


def test_the_loss_is_of_hidden_patches_normalised_one_by_one(
    objective: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAE's mean squared error, written out; what is predicted of visible patches does not count."""
    model, images = VisionTransformer(STUDENT), torch.randn(3, 3, 16, 16)
    predicted = torch.randn(3, 16, 48)
    orders: list[torch.Tensor] = []

    def reconstructed(_: nn.Module, __: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        orders.append(order)
        return predicted

    monkeypatch.setattr(objective, "reconstructed", reconstructed)
    loss = objective(model, images, LABELS)
    errors = []
    for picture, order in enumerate(orders[0]):
        for number in order[8:].tolist():
            patch = patchify(images, 4)[picture, number]
            patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            errors.append((predicted[picture, number] - patch).square().mean())
    assert len(errors) == 3 * 8
    assert torch.allclose(loss, torch.stack(errors).mean())


def test_both_sides_learn(objective: Reconstruction) -> None:
    """Every parameter but the head has a gradient, and the loss falls."""
    torch.manual_seed(0)
    model, images = VisionTransformer(STUDENT), torch.randn(8, 3, 16, 16).cumsum(-1) / 4
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=5e-3)
    losses = []
    for _ in range(60):
        loss = objective(model, images, LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert idle == {"head.weight", "head.bias"}
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_pretraining_resumes_exactly_with_its_decoder(images: ImageSet, tmp_path: Path) -> None:
    """The decoder is part of the checkpoint, not of the model; nothing is validated, as no answer is trained."""
    config = replace(PRETRAINING, ema_decay=0.9)

    def stop(epochs_done: int, _: nn.Module, line: Mapping[str, float]) -> None:
        assert "validation" not in line
        if epochs_done == 2:
            raise KeyboardInterrupt

    def run(folder: Path, **options: object) -> nn.Module:
        model = build_model(config, 2)
        objective = make_objective(config, model.config, None)
        return fit(model, config, images, folder, objective=objective, device="cpu", workers=0, **options)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", after_epoch=stop)
    assert same_weights(whole, run(tmp_path / "parts"))
    assert load_model(tmp_path / "parts").config == TINY


def test_a_stage_of_more_parts_begins_with_a_pretrained_model(images: ImageSet, tmp_path: Path) -> None:
    """Convolutions of V, which masked pictures cannot have, come in the second stage; all else is taken over."""
    config = replace(CONFIG, architecture=replace(TINY, lepe=2), before=PRETRAINING, lr=1e-30)
    model = train_on_cpu(config, images, tmp_path)
    first = load_model(tmp_path / "before").state_dict()
    ours = model.state_dict()
    assert all(torch.allclose(ours[name], tensor, atol=1e-6) for name, tensor in first.items())
    with pytest.raises(ConfigError, match=r"weights without a place: blocks.0.attn.proj.bias"):
        train_on_cpu(replace(config, architecture=replace(TINY, dim=8)), images, tmp_path)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (replace(TINY, lepe=2), "lepe"),
        (varied(TINY, heads=((AttentionKind.POOLED_KV,) * 2,) * 2, pooled_side=1), "pooled_kv heads"),
        (replace(TINY, prompts=Prompts(count=1, width=2)), "prompts"),
        (replace(TINY, image_size=4), "0 of 1 patches"),
    ],
)
def test_students_that_would_see_too_much_are_refused(student: object, message: str) -> None:
    """What depends on places, or reads hidden patches; and pictures of which nothing can be hidden."""
    with pytest.raises(ConfigError, match=message):
        Reconstruction(SETTINGS, student)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a mask ratio of 1"):
        ReconstructionSettings(mask_ratio=1.0)
