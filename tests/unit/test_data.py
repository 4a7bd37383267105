"""Image folders and sets."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from mpcvit.compat import prepare_torchvision
from mpcvit.data.cifar10 import download_cifar10, load_cifar10
from mpcvit.data.image_set import ImageSet, load_folder
from mpcvit.data.normalise import normalise
from mpcvit.errors import InputError, ShapeMismatch


def _write(folder: Path, name: str, size: tuple[int, int], colour: int) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 0, 0)).save(folder / name / f"{colour}.png")


def test_folder_becomes_a_set(tmp_path: Path) -> None:
    """Classes are sorted, labels follow them, pixels are RGB."""
    _write(tmp_path, "ship", (4, 4), 9)
    _write(tmp_path, "cat", (4, 4), 5)
    images = load_folder(tmp_path)
    assert images.classes == ("cat", "ship")
    assert images.labels.tolist() == [0, 1]
    assert images.images[:, 0, 0].tolist() == [[5, 0, 0], [9, 0, 0]]


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    """A missing folder, one without classes, and pictures of different sizes are typed errors."""
    with pytest.raises(InputError, match="one subfolder per class"):
        load_folder(tmp_path / "missing")
    with pytest.raises(InputError):
        load_folder(tmp_path)
    _write(tmp_path, "cat", (4, 4), 1)
    _write(tmp_path, "cat", (5, 4), 2)
    with pytest.raises(ShapeMismatch, match="2 different sizes"):
        load_folder(tmp_path)


def _set(count: int) -> ImageSet:
    return ImageSet(np.zeros((count, 2, 2, 3), dtype=np.uint8), np.arange(count, dtype=np.int64), ("a",))


def test_spread_takes_even_distances() -> None:
    """A part of a sorted set covers all of it."""
    assert _set(10).spread(5).labels.tolist() == [0, 2, 4, 6, 8]
    assert len(_set(3).spread(10)) == 3


def test_split_is_a_seeded_partition() -> None:
    """The two parts are disjoint, complete and the same each time."""
    rest, held = _set(10).split(3, seed=1)
    assert sorted([*rest.labels, *held.labels]) == list(range(10))
    assert _set(10).split(3, seed=1)[1].labels.tolist() == held.labels.tolist()


def test_normalise_is_per_channel() -> None:
    """(pixel / 255 - mean) / std, channels first."""
    pixels = np.full((1, 2, 2, 3), 255, dtype=np.uint8)
    got = normalise(pixels, (0.0, 0.5, 1.0), (1.0, 0.5, 2.0))
    assert torch.allclose(got[0, :, 0, 0], torch.tensor([1.0, 1.0, 0.0]))


class FakeDownload:
    """Stands in for torchvision's CIFAR10: two pictures per part, of plain colours."""

    classes = ("airplane", "automobile")

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        self._first = 0 if train else 100

    def __len__(self) -> int:
        return 2

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32), (self._first + number, 7, 9)), 1 - number


def test_a_download_becomes_an_image_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixels, labels and parts survive; nothing is written to standard output."""
    prepare_torchvision()
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeDownload)
    download_cifar10(tmp_path)
    for split, first in (("train", 0), ("test", 100)):
        images = load_cifar10(tmp_path, split)
        assert images.classes == FakeDownload.classes
        assert {
            (int(pixels[0, 0, 0]), int(label)) for pixels, label in zip(images.images, images.labels, strict=True)
        } == {
            (first, 1),
            (first + 1, 0),
        }
    assert capsys.readouterr().out == ""


def test_a_failed_download_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network there is a remedy, not a traceback."""
    prepare_torchvision()

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", unreachable)
    with pytest.raises(InputError, match=r"Name or service not known.*Check the connection"):
        download_cifar10(tmp_path)
