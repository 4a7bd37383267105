"""Float models on disk: ``config.json`` and ``model.safetensors``. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mpcvit.errors import ModelFileError
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer

CONFIG_FILE = "config.json"
FLOAT_FILE = "model.safetensors"


def save_model(model: VisionTransformer, folder: Path) -> None:
    """Write the configuration and weights of ``model`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / FLOAT_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(model.config.to_json(), indent=1) + "\n")


def load_model(folder: Path) -> VisionTransformer:
    """The model in ``folder``, in eval mode.

    Raises:
        ModelFileError: a file is missing, damaged, or the weights do not fit the configuration.
        ConfigError: the configuration is not valid.
    """
    try:
        config = ViTConfig.from_json(json.loads((folder / CONFIG_FILE).read_text()))
        model = VisionTransformer(config)
        model.load_state_dict(load_file(folder / FLOAT_FILE))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelFileError(
            f"{type(error).__name__} reading the model in {folder}",
            expected=f"{CONFIG_FILE} and {FLOAT_FILE} that belong together",
            remedy="Train or copy the model again.",
        ) from error
    return model.eval()


def model_digest(folder: Path) -> str:
    """SHA-256 of a float model's files, 64 hexadecimal digits.

    Raises:
        ModelFileError: a file is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, FLOAT_FILE):
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            raise ModelFileError(
                f"no {name} in {folder}",
                expected=f"the folder of a trained model, with {CONFIG_FILE} and {FLOAT_FILE}",
                remedy="Correct the folder, or train the model first.",
            ) from error
    return digest.hexdigest()
