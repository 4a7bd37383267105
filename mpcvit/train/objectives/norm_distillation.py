"""THE-X's norm distillation (Chen et al., Findings of ACL 2022, section 3.2): affine norms learn what layer norms gave.

A stage before others, for a student that starts from a teacher's weights. Each affine norm reads what the teacher's
norm in its place reads, and is to write the same; nothing else gets a gradient. Norms do not see each other's errors,
so that one that begins far away cannot lead others astray.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.norm import AffineNorm, LayerNorm
from mpcvit.models.vit import Block, Intermediates, VisionTransformer
from mpcvit.train.objectives.objective import squared_error
from mpcvit.train.objectives.teacher import Teacher


@dataclass(frozen=True)
class NormDistillation:
    """The sum over the student's affine norms of MSE(affine(x), layer norm(x)), x what the teacher's reads.

    Attributes:
        teacher: of the student's depth, width and tokens, with layer norms where the student has affine ones.
    """

    teacher: Teacher

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; ``targets`` are not used.

        Raises:
            ConfigError: there is no affine norm, or the teacher has nothing to learn from in its place.
        """
        _, out = self.teacher(images)
        errors = [
            squared_error(name, affine(x_BND), wanted_BND)
            for name, affine, x_BND, wanted_BND in _pairs(model, self.teacher.model, out)
        ]
        if not errors:
            raise ConfigError(
                "norm distillation of a model without affine norms",
                expected="a student with affine norms",
                remedy="Give it some (architecture.blocks.*.norms=[affine, affine]), or take another objective.",
            )
        return torch.stack(errors).sum()


def _pairs(
    student: nn.Module, teacher: nn.Module, out: Intermediates
) -> list[tuple[str, AffineNorm, torch.Tensor, torch.Tensor]]:
    """Return name, norm, input and wanted output of all affine norms of ``student``."""
    if not (
        isinstance(student, VisionTransformer)
        and isinstance(teacher, VisionTransformer)
        and len(student.blocks) == len(teacher.blocks)
    ):
        raise ConfigError(
            f"norm distillation of a {type(student).__name__} from a {type(teacher).__name__}",
            expected="ViTs with as many blocks",
            remedy="Take a teacher of the student's depth.",
        )
    found = []
    for number, (block, other) in enumerate(zip(student.blocks, teacher.blocks, strict=True)):
        assert isinstance(block, Block) and isinstance(other, Block)  # noqa: S101, PT018 - a ViT's blocks
        for name, own, norm, x_BND in (
            (f"blocks.{number}.norm1", block.norm1, other.norm1, _entry(out, number, other)),
            (f"blocks.{number}.norm2", block.norm2, other.norm2, _behind_attention(out, number, other)),
        ):
            if not isinstance(own, AffineNorm):
                continue
            if not isinstance(norm, LayerNorm):
                raise ConfigError(
                    f"{name}, an affine norm, with a {norm.kind} norm in the teacher",
                    expected="a teacher with layer norms",
                    remedy="Take the model that the student was made of.",
                )
            with torch.no_grad():
                found.append((name, own, x_BND, norm(x_BND)))
    return found


def _entry(out: Intermediates, number: int, block: Block) -> torch.Tensor:
    """Return what norm1 of a block of the teacher read."""
    if block.entry is not None:
        return out[f"block{number}.reduced"]
    return out[f"block{number - 1}"] if number else out["embed"]


def _behind_attention(out: Intermediates, number: int, block: Block) -> torch.Tensor:
    """Return what its norm2 read."""
    if block.select is not None:
        return out[f"block{number}.reduced"]
    return _entry(out, number, block) + out[f"block{number}.attn"]
