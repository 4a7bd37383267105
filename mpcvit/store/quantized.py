"""Quantized models on disk: ``config.json``, ``quantize.json`` and ``model.safetensors``. No pickle.

``quantize.json`` holds the quantization's configuration and, by place, each quantizer's kind, width and settings. What
calibration found is in the tensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mpcvit.errors import ModelFileError
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.config import QuantizeConfig
from mpcvit.quantize.places import QuantLinear, places, quantizers, with_places
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.registry import QUANTIZERS
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import CONFIG_FILE, FLOAT_FILE

QUANTIZE_FILE = "quantize.json"
#: Beside an exported model, the quantized one that it was lowered from.
QUANTIZED_FOLDER = "quantized"
_FORMAT = 1


def save_quantized(model: VisionTransformer, config: QuantizeConfig, folder: Path) -> None:
    """Write a model that was quantized with ``config`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    # copies: layers that modules share have several names, and safetensors wants every name's values apart
    save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, folder / FLOAT_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(to_document(model.config), indent=1) + "\n")
    document = {
        "format": _FORMAT,
        "config": to_document(config),
        "quantizers": {
            name: {"kind": quantizer.kind, "bits": quantizer.bits, "settings": quantizer.settings()}
            for name, quantizer in quantizers(model).items()
        },
    }
    (folder / QUANTIZE_FILE).write_text(json.dumps(document, indent=1) + "\n")


def load_quantized(folder: Path) -> tuple[VisionTransformer, QuantizeConfig]:
    """Return the quantized model in ``folder``, in eval mode, and how it was quantized.

    Raises:
        ModelFileError: a file is missing, damaged or of another format, or they do not belong together.
        ConfigError: a configuration is not valid.
    """
    try:
        document = json.loads((folder / QUANTIZE_FILE).read_text())
        if document["format"] != _FORMAT:
            raise ModelFileError(
                f"format {document['format']} in {folder / QUANTIZE_FILE}",
                expected=f"format {_FORMAT}",
                remedy="Quantize the model again with this version.",
            )
        config = from_document(QuantizeConfig, document["config"])
        architecture = from_document(ViTConfig, json.loads((folder / CONFIG_FILE).read_text()))
        tensors = load_file(folder / FLOAT_FILE)
        model = with_places(VisionTransformer(architecture))
        known = places(model)
        for name, description in document["quantizers"].items():
            known[name].put(_quantizer(name, description, tensors))
        for name, module in model.named_modules():
            if isinstance(module, QuantLinear) and module.bias is None and f"{name}.bias" in tensors:
                module.bias = nn.Parameter(torch.empty(module.out_features))
        model.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelFileError(
            f"{type(error).__name__} reading the quantized model in {folder}",
            expected=f"{CONFIG_FILE}, {QUANTIZE_FILE} and {FLOAT_FILE} that belong together",
            remedy="Quantize or copy the model again.",
        ) from error
    return model.eval(), config


def is_quantized(exported: Path) -> bool:
    """Return whether an exported model's folder also has the quantized model."""
    return (exported / QUANTIZED_FOLDER / QUANTIZE_FILE).is_file()


def read_config(path: Path) -> QuantizeConfig:
    """Return the configuration in a ``quantize.json``, or alone in a file (:func:`mpcvit.store.codec.to_document`).

    Raises:
        ModelFileError: the file is missing or damaged.
        ConfigError: the configuration is not valid.
    """
    try:
        document = json.loads(path.read_text())
        return from_document(QuantizeConfig, document.get("config", document))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {path}",
            expected="the configuration of a quantization in JSON",
            remedy="Take the quantize.json of a quantized model, or correct the path.",
        ) from error


def _quantizer(name: str, description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Quantizer:
    """Return the quantizer of a place, with buffers of the shapes that the file has."""
    quantizer = QUANTIZERS[description["kind"]](description["bits"], **description["settings"])
    for buffer in dict(quantizer.named_buffers()):
        setattr(quantizer, buffer, torch.empty_like(tensors[f"{name}.{buffer}"]))
    return quantizer
