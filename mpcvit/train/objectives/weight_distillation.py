"""MiniViT's weight distillation (Zhang et al., CVPR 2022): answers, and relations between tokens inside the model.

Relations are products of tokens with tokens, so teacher and student may differ in width and in heads, but not in their
number of tokens. Axes: B batch, N tokens, D width of all heads together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from mpcvit.errors import ConfigError
from mpcvit.train.objectives.objective import depth, intermediates, soft_label_loss
from mpcvit.train.objectives.teacher import Teacher


@dataclass(frozen=True)
class WeightDistillation:
    """CE(teacher's softmax) + attention weight * L_attn + hidden weight * L_hid; labels are not used.

    Compared is every second block, from the last one on; the source takes numbers 23, 21, 15, 9, 3 and 1 of 24.
    L_attn = the mean over these pairs of blocks and over the nine pairs (i, j) of Q, K and V of CE(softmax(M_i M_j^T /
    sqrt(D)) of the teacher, the same of the student), M_i [N, D] being a block's Q, K or V of all heads together.
    L_hid = N times the mean squared difference of H H^T between the two, H [N, width] being the residual stream behind
    a block with rows of length 1. (The source has 49 for N, its window's tokens.) Weights are the source's for Swin.
    Student block number i of n is compared with the teacher's block as far up in its stack, that is the same one in
    models of equal depth.

    Attributes:
        teacher: of the student's classes and tokens.
    """

    teacher: Teacher
    attention_weight: float = 1.0
    hidden_weight: float = 0.1

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; ``targets`` are not used."""
        with _recorded(model) as ours:
            logits, out = intermediates(model, images)
        with _recorded(self.teacher.model) as theirs:
            teacher_logits, teacher_out = self.teacher(images)
        attention, hidden = [], []
        for own, other in _pairs(depth(out), depth(teacher_out)):
            streams = out[f"block{own}"], teacher_out[f"block{other}"]
            for student, wanted in ((ours[own], theirs[other]), streams):
                _check_tokens(own, student, wanted)
            attention.append(attention_relations(ours[own], theirs[other]))
            hidden.append(hidden_relations(*streams))
        loss = soft_label_loss(logits, teacher_logits)
        loss = loss + self.attention_weight * torch.stack(attention).mean()
        return loss + self.hidden_weight * torch.stack(hidden).mean()


def attention_relations(qkv: torch.Tensor, teacher_qkv: torch.Tensor) -> torch.Tensor:
    """Return L_attn of one pair of blocks from their [B, N, 3 D]; D may differ.

    In float32, which is also faster on a CPU.
    """
    with torch.autocast(qkv.device.type, enabled=False):
        wanted = _relations(teacher_qkv.float()).softmax(-1)
        return functional.cross_entropy(_relations(qkv.float()), wanted)


def _relations(qkv: torch.Tensor) -> torch.Tensor:
    """Return all nine products of Q, K and V as rows, from [B, N, 3 D] to [9 B N, N]."""
    count, tokens, width = qkv.shape
    stacked = torch.cat(qkv.chunk(3, dim=-1), dim=1)
    scores: torch.Tensor = stacked @ stacked.mT / (width // 3) ** 0.5
    return scores.reshape(9 * count * tokens, tokens)


def hidden_relations(stream_BND: torch.Tensor, teacher_BND: torch.Tensor) -> torch.Tensor:
    """Return L_hid of one pair of blocks; widths may differ."""
    ours, theirs = (functional.normalize(part.float(), dim=-1) for part in (stream_BND, teacher_BND))
    return functional.mse_loss(ours @ ours.mT, theirs @ theirs.mT) * stream_BND.shape[1]


def _pairs(student: int, teacher: int) -> list[tuple[int, int]]:
    """Return the numbers of blocks that are compared."""
    return [(number, max((number + 1) * teacher // student - 1, 0)) for number in range(student - 1, -1, -2)]


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[int, torch.Tensor]]:
    """Yield what each block's qkv layer writes while the model runs, the first time if there are several."""
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise ConfigError(
            f"a {type(model).__name__} in weight distillation",
            expected="a model with blocks whose attention has a layer qkv",
            remedy="Use mpcvit.models.vit.VisionTransformer, or another objective.",
        )
    written: dict[int, torch.Tensor] = {}

    def record(number: int, _: nn.Module, __: object, output: torch.Tensor) -> None:
        written.setdefault(number, output)

    hooks = [
        block.get_submodule("attn.qkv").register_forward_hook(partial(record, number))
        for number, block in enumerate(blocks)
    ]
    try:
        yield written
    finally:
        for hook in hooks:
            hook.remove()


def _check_tokens(block: int, qkv: torch.Tensor, teacher_qkv: torch.Tensor) -> None:
    """Raise ConfigError unless both have equally many tokens."""
    ours, theirs = qkv.shape[1], teacher_qkv.shape[1]
    if ours != theirs:
        raise ConfigError(
            f"{ours} tokens in block {block} of the student, {theirs} in the teacher's",
            expected="equally many tokens",
            remedy="Take the objective 'distillation' with token_weight 0, which compares answers alone.",
        )
