"""Configurations of ViTs written as columns: of each field of the blocks, one value per block."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from mpcvit.models.block import BlockConfig
from mpcvit.models.config import ViTConfig

_DEFAULTS = {field.name: field.default for field in fields(BlockConfig)}


def configured(*, hidden: int | tuple[int, ...], **changes: Any) -> ViTConfig:
    """A configuration of columns and of fields of :class:`ViTConfig`; ``hidden`` may be one number for all blocks."""
    columns = {name: changes.pop(name) for name in [*changes] if name in _DEFAULTS or name == "owners"}
    depth = len(columns["heads"])
    blank = [BlockConfig(heads=kinds, activation=columns["activation"][0], hidden=1) for kinds in columns["heads"]]
    return ViTConfig(blocks=_blocks(blank, depth, {"hidden": hidden, **columns}), **changes)


def varied(config: ViTConfig, **changes: Any) -> ViTConfig:
    """``config`` with other columns and fields of its own.

    A column that is longer or shorter than the model makes it so; an empty one stands for the field's default.
    ``owners`` are the blocks whose matrices each one uses.
    """
    columns = {name: changes.pop(name) for name in [*changes] if name in _DEFAULTS or name == "owners"}
    depth = len(columns.get("heads", config.blocks))
    return replace(config, blocks=_blocks(config.blocks, depth, columns), **changes)


def column(config: ViTConfig, name: str) -> tuple[Any, ...]:
    """One field of all blocks."""
    return tuple(getattr(block, name) for block in config.blocks)


def _blocks(before: Any, depth: int, columns: dict[str, Any]) -> tuple[BlockConfig, ...]:
    if "owners" in columns:
        owners = columns.pop("owners")
        columns["shares"] = tuple(owner != number for number, owner in enumerate(owners))
    if isinstance(columns.get("hidden"), int):
        columns["hidden"] = (columns["hidden"],) * depth
    columns = {name: values or (_DEFAULTS[name],) * depth for name, values in columns.items()}
    assert {len(values) for values in columns.values()} <= {depth}, "columns of different lengths"
    blocks = [before[min(number, len(before) - 1)] for number in range(depth)]
    return tuple(
        replace(block, **{name: values[number] for name, values in columns.items()})
        for number, block in enumerate(blocks)
    )
