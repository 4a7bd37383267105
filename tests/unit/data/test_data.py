"""Image folders and sets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from mpcvit.compat import prepare_torchvision
from mpcvit.data.catalogue import DATA_SETS, data_set
from mpcvit.data.cifar10 import download_cifar10, load_cifar10
from mpcvit.data.cifar100 import download_cifar100
from mpcvit.data.image_set import ImageSet, load_folder
from mpcvit.data.normalise import normalise
from mpcvit.data.tinyimagenet import ARCHIVE, download_tinyimagenet
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


def test_data_sets_know_their_pictures() -> None:
    """Every data set is found by its name, and refuses pictures of another."""
    assert [data_set(name).name for name in DATA_SETS] == ["cifar10", "cifar100", "tinyimagenet"]
    labels = np.arange(10, dtype=np.int64)
    names = tuple(map(str, labels))
    data_set("cifar10").check(ImageSet(np.zeros((10, 32, 32, 3), dtype=np.uint8), labels, names))
    with pytest.raises(InputError, match="10 classes of 64 x 64 pictures"):
        data_set("cifar10").check(ImageSet(np.zeros((10, 64, 64, 3), dtype=np.uint8), labels, names))
    with pytest.raises(InputError, match="mpcvit data cifar100"):
        data_set("cifar100").check(ImageSet(np.zeros((10, 32, 32, 3), dtype=np.uint8), labels, names))


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


@pytest.mark.parametrize(("name", "download"), [("CIFAR10", download_cifar10), ("CIFAR100", download_cifar100)])
def test_a_download_becomes_an_image_folder(
    name: str,
    download: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pixels, labels and parts survive; nothing is written to standard output."""
    prepare_torchvision()
    monkeypatch.setattr(f"torchvision.datasets.{name}", FakeDownload)
    download(tmp_path)
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


@pytest.mark.parametrize(("name", "download"), [("CIFAR10", download_cifar10), ("CIFAR100", download_cifar100)])
def test_a_failed_download_is_typed(
    name: str, download: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network there is a remedy, not a traceback."""
    prepare_torchvision()

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(f"torchvision.datasets.{name}", unreachable)
    with pytest.raises(InputError, match=r"Name or service not known.*Check the connection"):
        download(tmp_path)


def _jpeg(colour: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (64, 64), (colour,) * 3 if mode == "RGB" else colour).save(file, "JPEG")
    return file.getvalue()


def _archive(root: Path, members: dict[str, bytes]) -> str:
    """Write ``members`` as Tiny-ImageNet's archive, already downloaded; its MD5."""
    path = root / "download" / ARCHIVE
    path.parent.mkdir(parents=True)
    with ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


TINY = {
    "wnids.txt": b"n00000001\nn00000002\n",
    "train/n00000001/images/n00000001_0.JPEG": _jpeg(10),
    "train/n00000001/n00000001_boxes.txt": b"",
    "train/n00000002/images/n00000002_0.JPEG": _jpeg(20, "L"),  # some pictures are grey
    "val/val_annotations.txt": b"val_0.JPEG\tn00000002\t0\t0\t62\t62\nval_1.JPEG\tn00000001\t1\t1\t9\t9\n",
    "val/images/val_0.JPEG": _jpeg(200),
    "val/images/val_1.JPEG": _jpeg(100),
    "test/images/test_0.JPEG": _jpeg(250),
}


def test_tiny_imagenet_is_sorted_by_its_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Validation pictures go to their classes in 'test'; the test part without labels is left out."""
    download_tinyimagenet(tmp_path, md5=_archive(tmp_path, TINY))
    train, test = load_folder(tmp_path / "train"), load_folder(tmp_path / "test")
    assert train.classes == test.classes == ("n00000001", "n00000002")
    assert train.images.shape == test.images.shape == (2, 64, 64, 3)
    assert np.abs(train.images[:, 0, 0].astype(int) - [[10], [20]]).max() <= 2  # JPEG
    assert np.abs(test.images[:, 0, 0].astype(int) - [[100], [200]]).max() <= 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val/images/val_2.JPEG": _jpeg(1)}, "val_2"),
        ({"train/../images/out.JPEG": _jpeg(1)}, r"classes \['\.\.'\]"),
    ],
    ids=["no annotation", "a class that leads out"],
)
def test_odd_archives_of_tiny_imagenet_are_refused(change: dict[str, bytes], message: str, tmp_path: Path) -> None:
    """A picture without a class, and names that leave the folder, are typed errors, and nothing is written."""
    with pytest.raises(InputError, match=message):
        download_tinyimagenet(tmp_path, md5=_archive(tmp_path, {**TINY, **change}))
    assert [path.name for path in tmp_path.iterdir()] == ["download"]


def test_a_damaged_archive_of_tiny_imagenet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another digest means a new download; without a network there is a remedy."""
    _archive(tmp_path, TINY)
    prepare_torchvision()

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", unreachable)
    with pytest.raises(InputError, match=r"Name or service not known.*Check the connection"):
        download_tinyimagenet(tmp_path)
