"""Models of published sizes with random weights, for timing: seconds do not depend on the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mpcvit import zoo
from mpcvit.errors import ConfigError
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.random_weights import NOISE_MEAN, NOISE_STD, enliven, noise
from mpcvit.models.sizes import deit, vit_7_4_32
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.trained import save_model

_CALIBRATION_IMAGES = 8
#: The same noise that calibrates is timed, so bounds need little margin.
_MARGIN = 1.5


RANDOM_MODELS = {
    "vit_7_4_32.softmax.gelu": vit_7_4_32(AttentionKind.SOFTMAX, Activation.GELU),
    "vit_7_4_32.relu_softmax.relu": vit_7_4_32(AttentionKind.RELU_SOFTMAX, Activation.RELU),
    "vit_7_4_32.scaling.identity": vit_7_4_32(AttentionKind.SCALING, Activation.IDENTITY),
    "deit_tiny": deit(dim=192, head_count=3),
    # one block of ViT-B/16 on 196 tokens, with patch embedding and a small head
    "vit_base_block": ViTConfig.uniform(
        AttentionKind.SOFTMAX,
        Activation.GELU,
        depth=1,
        head_count=12,
        image_size=224,
        patch_size=16,
        classes=10,
        dim=768,
        hidden=3072,
    ),
}


def random_model(name: str) -> VisionTransformer:
    """Return the model called ``name``, always with the same weights; seeds torch's default generator.

    Raises:
        ConfigError: there is none.
    """
    if name not in RANDOM_MODELS:
        raise ConfigError(
            f"model '{name}'", expected=f"one of {', '.join(RANDOM_MODELS)}", remedy="Choose one of these."
        )
    torch.manual_seed(0)
    model = VisionTransformer(RANDOM_MODELS[name]).eval()
    enliven(model)
    return model


def export_random(name: str, folder: Path) -> None:
    """Export the model called ``name`` to ``folder``, calibrated on noise."""
    model = random_model(name)
    config = model.config
    exported = export_vit(model, noise(config, _CALIBRATION_IMAGES), Precision(margin=_MARGIN, calibrated=True))
    labels = tuple(f"class{index}" for index in range(config.classes))
    mean, std = (NOISE_MEAN,) * config.channels, (NOISE_STD,) * config.channels
    description = Description(name=name, version="random", labels=labels, mean=mean, std=std)
    ModelFolder(description, exported.program, exported.weights).save(folder)
    save_model(model, folder)


@contextmanager
def model_folder(name: str, advance: Callable[[str], None] = lambda what: None) -> Iterator[Path]:
    """Yield an exported model's folder, as :func:`mpcvit.zoo.folder` finds it; a random model's is gone afterwards.

    Raises:
        ModelFileError: there is no such model.
    """
    if name not in RANDOM_MODELS:
        yield zoo.folder(name)
        return
    with tempfile.TemporaryDirectory(prefix="mpcvit-model-") as scratch:
        advance(f"exporting {name}")
        folder = Path(scratch) / name
        export_random(name, folder)
        yield folder
