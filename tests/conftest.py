"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mpcvit.data.image_set import ImageSet
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.config import Activation, AttentionKind, ViTConfig
from mpcvit.models.files import save_model
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.model_folder import Description, ModelFolder

torch.set_num_threads(1)  # tests are small; several processes run side by side

TINY = ViTConfig(
    image_size=8,
    patch_size=4,
    classes=3,
    dim=16,
    hidden=24,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),),
    activations=(Activation.RELU,),
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MPCVIT_ setting of the developer's shell reaches a test."""
    for name in [name for name in os.environ if name.startswith("MPCVIT_")]:
        monkeypatch.delenv(name)


def make_model(config: ViTConfig, seed: int = 0, gain: float = 3.0) -> VisionTransformer:
    """A model with weights large enough that every op sees values of ordinary size."""
    torch.manual_seed(seed)
    model = VisionTransformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain) if parameter.ndim == 2 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_images(config: ViTConfig, count: int, seed: int = 1) -> torch.Tensor:
    """Normalised noise."""
    torch.manual_seed(seed)
    return torch.randn(count, config.channels, config.image_size, config.image_size).clamp(-2, 2)


@pytest.fixture(scope="session")
def tiny_model() -> VisionTransformer:
    """A one-block model for 8 x 8 pictures."""
    return make_model(TINY)


@pytest.fixture(scope="session")
def tiny_exported(tiny_model: VisionTransformer) -> Exported:
    """Its Program and weights."""
    return export_vit(tiny_model, make_images(TINY, 64))


@pytest.fixture(scope="session")
def tiny_folder(
    tiny_model: VisionTransformer, tiny_exported: Exported, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model as an exported model's folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    description = Description(
        name="tiny", version="1", labels=("a", "b", "c"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    ModelFolder(description, tiny_exported.program, tiny_exported.weights).save(folder)
    save_model(tiny_model, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_pictures() -> ImageSet:
    """Twelve labelled 8 x 8 pictures."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(12, dtype=np.int64) % 3, ("a", "b", "c"))


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with CIFAR-10's test part: where a user keeps it, or from the archive beside the checkout.

    Skips, saying how to get it, if it is in neither place.
    """
    kept = Path.home() / ".cache/mpcvit/data/cifar10"
    if (kept / "test").is_dir():
        return kept
    archive = Path(__file__).resolve().parents[2] / "shared/data/cifar10.tar.xz"
    if not archive.is_file():
        pytest.skip(f"CIFAR-10 is not here; fetch it with 'mpcvit data cifar10 {kept}'")
    folder = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(archive, mode="r|xz") as packed:
        for member in packed:
            content = packed.extractfile(member)  # None for folders
            if member.name.startswith("test/") and content is not None:
                picture = folder / member.name
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(content.read())
    return folder
