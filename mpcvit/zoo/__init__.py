"""Small trained models that ship with the package, each an exported model with its float weights and a card."""

from __future__ import annotations

from pathlib import Path

from mpcvit.errors import ModelFileError

_ROOT = Path(__file__).parent
MODELS = _ROOT / "models"
PICTURES = _ROOT / "pictures"
DEFAULT = "mpcvit_cifar10"


def names() -> list[str]:
    """Return the names of all shipped models."""
    return sorted(path.name for path in MODELS.iterdir() if path.is_dir())


def folder(model: str | Path) -> Path:
    """Return the folder of the shipped model of that name, trained and exported, or ``model`` itself if it is a folder.

    Raises:
        ModelFileError: neither.
    """
    for path in (MODELS / str(model), Path(model)):
        if path.is_dir():
            return path
    raise ModelFileError(
        f"model '{model}'",
        expected=f"one of {', '.join(names())}, or the folder of a trained or exported model",
        remedy="Correct the name or path.",
    )
