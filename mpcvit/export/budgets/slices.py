"""Where the weights of a model's first part lie in those of the whole, after folding."""

from __future__ import annotations

from mpcvit.models.block import BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.ops.types import TensorType
from mpcvit.program.program import Program
from mpcvit.program.views import Runs, View

_HEADS_WEIGHT = ".attn.proj.matmul.weight"
_QKV_WEIGHT = ".attn.norm_qkv.matmul.weight"
_FIRST_WEIGHT, _SECOND_WEIGHT = ".norm_fc1.matmul.weight", ".fc2.matmul.weight"
_SKIP = ".skip."
_POSITIONS = "embed.bias"


def head_columns(whole: BlockConfig, part: BlockConfig, width: int) -> Runs:
    """Return where the columns of the part's heads are among those of all; heads lie by kind, see ``fold``.

    Args:
        part: the same block with the first of its heads.
        width: of a head.
    """
    if whole.heads == part.heads:
        return ()
    order, kept = _by_kind(whole), _by_kind(part)
    return tuple((order.index(head) * width, (order.index(head) + 1) * width) for head in kept)


def thirds(runs: Runs, inner: int) -> Runs:
    """Return the same columns of queries, of keys and of values, which are ``inner`` each."""
    return tuple((part * inner + start, part * inner + stop) for part in range(3) for start, stop in runs)


def views_of(whole: Program, part: Program, config: ViTConfig, part_config: ViTConfig) -> dict[str, View]:
    """Return the parameters of ``part`` that are slices of parameters of ``whole``, and which.

    That is decided by names, shapes and configurations, which are public, never by values. Matrices are slices, and so
    is what is added to tokens. Biases are not: they have as many fractional bits as the products that they are added
    to, which depend on ranges.
    """
    found = {name: _view(name, kind, whole, config, part_config) for name, kind in part.parameters.items()}
    return {name: view for name, view in found.items() if view is not None}


def _view(name: str, kind: TensorType, whole: Program, config: ViTConfig, part: ViTConfig) -> View | None:
    stored = whole.parameters.get(name)
    if stored is None or not (name.endswith(".weight") or name == _POSITIONS):
        return None
    number = next((place for place in range(part.depth) if name.startswith(f"block{place}.")), None)
    if number is not None:
        before, after = config.blocks[number], part.blocks[number]
        runs = _cut(name, before, after, config.head_dim)
        if runs is not None:
            return View(name, runs)
        if _SKIP in name and before.hidden != after.hidden:  # a sum over all channels was folded into it
            return None
    return View(name, ((),) * len(stored.shape)) if stored.shape == kind.shape else None


def _cut(name: str, before: BlockConfig, after: BlockConfig, width: int) -> tuple[Runs, ...] | None:
    """Return which rows and columns of a block's matrix are left; None if no heads or channels are cut from it."""
    columns = head_columns(before, after, width)
    hidden: Runs = () if before.hidden == after.hidden else ((0, after.hidden),)
    if columns and name.endswith(_QKV_WEIGHT):
        return (), thirds(columns, before.inner(width))
    if columns and name.endswith(_HEADS_WEIGHT):
        return columns, ()
    if hidden and name.endswith(_FIRST_WEIGHT):
        return (), hidden
    if hidden and name.endswith(_SECOND_WEIGHT):
        return hidden, ()
    return None


def _by_kind(block: BlockConfig) -> list[int]:
    """Return the heads as folding orders them."""
    kinds = dict.fromkeys(block.heads)
    return [head for kind in kinds for head, other in enumerate(block.heads) if other is kind]
