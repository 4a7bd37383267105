"""Float models on disk: ``config.json`` and ``model.safetensors``. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.models.backbones import BACKBONES, FloatModel
from mpcvit.models.config import ViTConfig
from mpcvit.models.efficientformer import EfficientFormerConfig
from mpcvit.models.segmenter import SegmenterConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.weights_file import misfit, not_floats, require_sound, unwrapped
from mpcvit.store.whole_file import whole_file, write_whole

CONFIG_FILE = "config.json"
FLOAT_FILE = "model.safetensors"
#: What a training was, beside its model.
TRAIN_FILE = "train.json"
#: What every exported model has, with a float model beside it or without.
_EXPORTED_FILE = "model.json"


def save_model(model: FloatModel, folder: Path) -> None:
    """Write the configuration and weights of ``model`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with whole_file(folder / FLOAT_FILE) as partial:
        save_file(tensors, partial)
    document = {"family": model.config.family, **to_document(model.config)}
    write_whole(folder / CONFIG_FILE, json.dumps(document, indent=1) + "\n")


def save_module_weights(module: nn.Module, folder: Path) -> None:
    """Write the weights of a module that is kept as its code into ``folder``, as ``--weights`` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    # copies: parameters that modules share have several names, and safetensors wants every name's values apart
    tensors = {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    with whole_file(folder / FLOAT_FILE) as partial:
        save_file(tensors, partial)


def load_model(folder: Path) -> VisionTransformer:
    """Return the ViT in ``folder``, in eval mode.

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


def read_architecture(folder: Path) -> ViTConfig | EfficientFormerConfig | SegmenterConfig:
    """Return the configuration of the model in ``folder``, of any family.

    Raises:
        ModelFileError: the file is missing or damaged.
        ConfigError: the configuration is not valid.
    """
    path = folder / CONFIG_FILE
    if not path.exists() and (folder / _EXPORTED_FILE).exists():
        raise ModelFileError(
            f"no {CONFIG_FILE} in {folder}: it is a module that was exported through torch.export",
            expected="a folder that holds the float model, too",
            remedy="Score it with '--executor reference' or '--executor secure'; compress or quantize the module "
            "itself, with --module or --timm. What checks float models knows those of this package only.",
        )
    try:
        document = json.loads(path.read_text())
        # configurations of before there were other families are ViTs'
        name = document.pop("family", ViTConfig.family)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _unreadable(folder, error) from error
    if name not in BACKBONES:
        raise ConfigError(
            f"a model of the family {name!r}",
            expected=f"one of {', '.join(BACKBONES)}",
            remedy="Read it with the version of mpcvit that wrote it, or a later one.",
        )
    config: ViTConfig | EfficientFormerConfig | SegmenterConfig = from_document(BACKBONES[name].config, document)
    return config


def load_any_model(folder: Path) -> FloatModel:
    """Return the model in ``folder``, of the family that its configuration names, in eval mode.

    Raises:
        ModelFileError: a file is missing, damaged, or the weights do not fit the configuration.
        ConfigError: the configuration is not valid.
    """
    config = read_architecture(folder)
    model: FloatModel = BACKBONES[config.family].model(config)
    firsts = {name.partition(".")[0] for name in model.state_dict()}
    own = firsts.pop() if len(firsts) == 1 else None
    try:
        tensors = unwrapped(load_file(folder / FLOAT_FILE), folder / FLOAT_FILE, own)
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    _load(model, tensors, folder)
    require_sound(tensors, folder / FLOAT_FILE)
    return model.eval()


def _unreadable(folder: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{type(error).__name__} reading the model in {folder}: {_brief(error)}",
        expected=f"a whole {CONFIG_FILE} and {FLOAT_FILE}",
        remedy="Train or copy the model again, or correct the path.",
    )


def _load(model: FloatModel, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Load ``tensors``. Parameters that blocks share may be there under one of their names or under all."""
    expected = model.state_dict()
    wrong = "; ".join(not_floats(expected, tensors))
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        wrong = misfit(expected, tensors)
    if wrong:
        raise ModelFileError(
            f"weights that do not fit {CONFIG_FILE} in {folder}: {wrong}",
            expected=f"{CONFIG_FILE} and {FLOAT_FILE} that belong together",
            remedy="Copy the whole folder again, or train the model again.",
        )


def _brief(error: Exception) -> str:
    """Return the beginning of a message, or what the system said of a file."""
    if isinstance(error, OSError):
        return f"{error.strerror} ({Path(error.filename).name})" if error.filename else str(error.strerror)
    return " ".join(str(error).split())[:200]


def model_digest(folder: Path) -> str:
    """Return SHA-256 of a float model's files, 64 hexadecimal digits.

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
