"""Which passes made a model, beside the model: ``compression.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpcvit.compress.compression import Compression
from mpcvit.errors import ModelFileError
from mpcvit.store.trained import model_digest

HISTORY_FILE = "compression.json"


def write_history(done: Compression, pictures: int, source: Path, folder: Path) -> None:
    """Note in ``folder`` that ``done`` made its model of the one in ``source``, after what made that one.

    Raises:
        ModelFileError: a file of ``source`` is missing or damaged.
    """
    steps: list[dict[str, Any]] = [
        *_steps(source),
        {**done.to_json(), "pictures": pictures, "of": model_digest(source)},
    ]
    (folder / HISTORY_FILE).write_text(json.dumps(steps, indent=1) + "\n")


def write_module_history(done: Compression, pictures: int, module: str, weights: Path | None, folder: Path) -> None:
    """Note in ``folder`` that ``done`` made its weights of those of a module, after what made the file ``weights``.

    Args:
        module: its factory, or timm's name.

    Raises:
        ModelFileError: the history beside ``weights`` is damaged.
    """
    before = [] if weights is None else _steps(weights.parent)
    steps = [*before, {**done.to_json(), "pictures": pictures, "of": module}]
    (folder / HISTORY_FILE).write_text(json.dumps(steps, indent=1) + "\n")


def _steps(folder: Path) -> list[dict[str, Any]]:
    path = folder / HISTORY_FILE
    try:
        steps = json.loads(path.read_text()) if path.exists() else []
    except ValueError as error:
        raise ModelFileError(
            f"{HISTORY_FILE} of {folder} that is no JSON",
            expected="the file that 'mpcvit compress' wrote",
            remedy="Compress the model again, or delete the file.",
        ) from error
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ModelFileError(
            f"{HISTORY_FILE} of {folder} that is no list of passes",
            expected="the file that 'mpcvit compress' wrote",
            remedy="Compress the model again, or delete the file.",
        )
    return steps
