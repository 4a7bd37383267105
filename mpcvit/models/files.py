"""Float models on disk: ``config.json`` and ``model.safetensors``. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.models.config import ViTConfig
from mpcvit.models.efficientformer import EfficientFormer, EfficientFormerConfig
from mpcvit.models.vit import VisionTransformer

CONFIG_FILE = "config.json"
FLOAT_FILE = "model.safetensors"

FloatModel = VisionTransformer | EfficientFormer


def save_model(model: FloatModel, folder: Path) -> None:
    """Write the configuration and weights of ``model`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / FLOAT_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(model.config.to_json(), indent=1) + "\n")


def load_model(folder: Path) -> VisionTransformer:
    """The ViT in ``folder``, in eval mode.

    Raises:
        ModelFileError: a file is missing, damaged, or the weights do not fit the configuration.
        ConfigError: the configuration is not valid, or one of another family.
    """
    model = load_any_model(folder)
    if isinstance(model, VisionTransformer):
        return model
    raise ConfigError(
        f"a model of the family {model.config.family} in {folder}",
        expected="a Vision Transformer",
        remedy="Name the folder of a Vision Transformer; models of other families can be exported, not changed.",
    )


def load_any_model(folder: Path) -> FloatModel:
    """The model in ``folder``, of the family that its configuration names, in eval mode.

    Raises:
        ModelFileError: a file is missing, damaged, or the weights do not fit the configuration.
        ConfigError: the configuration is not valid.
    """
    try:
        document = json.loads((folder / CONFIG_FILE).read_text())
        if document.get("family") == EfficientFormerConfig.family:
            model: FloatModel = EfficientFormer(EfficientFormerConfig.from_json(document))
        else:
            model = VisionTransformer(ViTConfig.from_json(document))
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
