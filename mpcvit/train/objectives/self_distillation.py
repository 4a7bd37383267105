"""Self-distillation of dense features, as PH-Reg (2025) gives a trained model registers; no labels.

The source's exact loss and augmentations are not public; this is what its description says. Features of a ViT have
artefacts that belong to places more than to the picture. A teacher, mostly the model as it was, looks at shifted and
mirrored views of a picture. Put back into place and averaged, its features have fewer of them, and the student, to
which registers or a denoiser were added, learns these from the picture as it is.

Axes: B batch, R and C rows and columns of patches, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import Intermediates, VisionTransformer
from mpcvit.train.objectives.objective import intermediates, last_tokens, squared_error
from mpcvit.train.objectives.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class SelfDistillationSettings:
    """What the teacher sees.

    Attributes:
        views: how many views of a picture are averaged, at least 1.
        shift: by how many patches at most a view is shifted in each direction, from 0; what leaves on one side comes
            back on the other.

    Raises:
        ConfigError: a number is out of its range.
    """

    views: int = 4
    shift: int = 2

    def __post_init__(self) -> None:
        if self.views < 1 or self.shift < 0:
            raise ConfigError(
                f"{self.views} views, shifted by up to {self.shift} patches",
                expected="at least 1 view, and shifts from 0",
                remedy="Correct 'self_distillation' in the training configuration.",
            )


@dataclass(frozen=True)
class ShiftedView:
    """A picture moved by ``down`` and ``right`` patches, then mirrored if ``flip``."""

    down: int
    right: int
    flip: bool


@dataclass(frozen=True)
class ViewDistillation:
    """Mean squared error and 1 - cosine between the student's last patches and the teacher's averaged ones.

    Attributes:
        teacher: of the student's width and patches; it needs no registers.
    """

    teacher: Teacher
    settings: SelfDistillationSettings

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; ``targets`` are not used."""
        shift = self.settings.shift
        views = []
        for _ in range(self.settings.views):
            down, right = torch.randint(-shift, shift + 1, (2,)).tolist()
            views.append(ShiftedView(down, right, bool(torch.rand(()) < 0.5)))
        wanted = self.averaged(images, views)
        got = patch_features(model, intermediates(model, images)[1])
        cosine = functional.cosine_similarity(got.float(), wanted.float(), dim=-1)
        return squared_error("patches", got, wanted) + (1 - cosine).mean()

    @torch.no_grad()
    def averaged(self, images: torch.Tensor, views: list[ShiftedView]) -> torch.Tensor:
        """Return the mean over ``views`` of the teacher's features, each put back into place [B, R, C, D]."""
        found = []
        for view in views:
            _, out = self.teacher(_moved(images, view, _config(self.teacher.model).patch_size))
            found.append(_put_back(patch_features(self.teacher.model, out), view))
        return torch.stack(found).mean(dim=0)


def patch_features(model: nn.Module, out: Intermediates) -> torch.Tensor:
    """Return the patches behind the final norm [B, R, C, D].

    Raises:
        ConfigError: the model drops patches.
    """
    config = _config(model)
    left = config.output_tokens
    if left.side is None:
        raise ConfigError(
            "self-distillation of a model that selects tokens",
            expected="a grid of patches behind the last block",
            remedy="Distil before tokens are selected.",
        )
    patches = last_tokens(model, out)[:, config.class_token :]
    return patches.reshape(len(patches), left.side, left.side, -1)


def _config(model: nn.Module) -> ViTConfig:
    assert isinstance(model, VisionTransformer)  # noqa: S101 - what else has intermediates
    return model.config


def _moved(images_BCHW: torch.Tensor, view: ShiftedView, patch: int) -> torch.Tensor:
    moved = images_BCHW.roll((view.down * patch, view.right * patch), dims=(-2, -1))
    return moved.flip(-1) if view.flip else moved


def _put_back(features_BRCD: torch.Tensor, view: ShiftedView) -> torch.Tensor:
    straight = features_BRCD.flip(2) if view.flip else features_BRCD
    return straight.roll((-view.down, -view.right), dims=(1, 2))
