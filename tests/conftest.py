"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from mpcvit.data.image_set import ImageSet
from mpcvit.export import normalise
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.trained import save_model
from tests.support.fit_cache import KeptFits
from tests.support.images import make_images
from tests.support.models import TINY, make_model

torch.set_num_threads(1)  # tests are small; several processes run side by side
hypothesis.settings.register_profile("busy", deadline=None)  # and a busy machine takes its time for an example
hypothesis.settings.load_profile("busy")


#: Folders of tests that start processes.
_SLOW = ("e2e/", "faults/", "services/", "unit/contributing/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that start processes as slow."""
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        if path.startswith(_SLOW):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MPCVIT_ setting of the developer's shell reaches a test."""
    for name in [name for name in os.environ if name.startswith("MPCVIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _kept_fits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Exports look up fits that an earlier test, another process or an earlier run has made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise, "fit_split", KeptFits(request.config.cache.mkdir("fits")))
        yield


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
