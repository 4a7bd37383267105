"""Documents of configurations from before they had versions, made into those of version 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig

Document = dict[str, Any]

#: Fields of a block by the names of the columns that a model had of them; all but the first two could be empty.
_COLUMNS = {
    "heads": "heads",
    "activations": "activation",
    "hiddens": "hidden",
    "gates": "gate",
    "norms": "norms",
    "ranks": "ranks",
    "reductions": "reduction",
}


def _vit(document: Document) -> Document:
    """Upgrade a model whose blocks were columns: of heads, of activations and so on."""
    columns = {field: document.pop(name) for name, field in _COLUMNS.items() if document.get(name)}
    document = {name: value for name, value in document.items() if name not in _COLUMNS}
    depth = len(columns["heads"])
    hidden, sharing = document.pop("hidden"), document.pop("sharing", None)
    columns = {"hidden": [hidden] * depth, "shares": _shares(sharing or range(depth)), **columns}
    wrong = {name: len(values) for name, values in columns.items() if len(values) != depth}
    if wrong:
        raise ConfigError(
            f"{wrong} for {depth} blocks",
            expected="one value per block, or none",
            remedy="Correct the model configuration.",
        )
    blocks = [{name: values[number] for name, values in columns.items()} for number in range(depth)]
    return {**document, "blocks": blocks}


def _shares(owners: Any) -> list[bool]:
    """Return whether each block uses the matrices of the one before it, from the blocks whose matrices they use."""
    owners = list(owners)
    if any(owner != number and (number == 0 or owner != owners[number - 1]) for number, owner in enumerate(owners)):
        raise ConfigError(
            f"blocks that use the weights of blocks {tuple(owners)}",
            expected="groups of neighbouring blocks, each block naming the first one of its group",
            remedy="Correct the model configuration.",
        )
    return [owner != number for number, owner in enumerate(owners)]


#: What makes the fields of version 1 of a document of version 0; nothing is to be done for other classes.
_FROM_0: Mapping[type, Callable[[Document], Document]] = {ViTConfig: _vit}


def upgraded(kind: type, document: Mapping[str, Any]) -> Document:
    """Return the fields of version 1 of a document of version 0, and of the documents in it.

    Args:
        kind: the dataclass that it describes.
    """
    fields = dict(document)
    for name, hint in get_type_hints(kind).items():
        for part in (hint, *get_args(hint)):
            if is_dataclass(part) and isinstance(part, type) and isinstance(fields.get(name), dict):
                fields[name] = upgraded(part, fields[name])
    return _FROM_0[kind](fields) if kind in _FROM_0 else fields
