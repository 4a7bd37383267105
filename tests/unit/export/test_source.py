"""``mpcvit model export``: trained folders and timm's backbones, pictures of any size, labels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.compat import prepare_torchvision
from mpcvit.data.cifar10 import CIFAR10
from mpcvit.data.cifar100 import CIFAR100
from mpcvit.data.data_set import DataSet
from mpcvit.data.image_set import load_folder
from mpcvit.data.normalise import normalise
from mpcvit.data.prepared import load_prepared
from mpcvit.errors import ConfigError, InputError, ModelFileError
from mpcvit.export.source import SourceChoice, open_source
from mpcvit.export.traced.model import TracedConfig
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.trained import load_model, save_model
from tests.support.models import TINY, make_model

prepare_torchvision()

from timm import create_model  # noqa: E402

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture
def small_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of timm's are made small in this test."""

    def make(name: str, **options: Any) -> nn.Module:
        sizes = {"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 12, "num_heads": 2, "num_classes": 3}
        return create_model(name, **{**sizes, **options})

    monkeypatch.setattr("mpcvit.models.timm_import.create_model", make)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures of three classes in different sizes, each of one colour."""
    for label, red in (("ant", 0), ("bee", 100), ("cat", 200)):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (20 + 3 * number, 40), (red, 10 * number, 7)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def choice(**options: Any) -> SourceChoice:
    names = ("trained", "timm", "weights", "image_size", "classes", "data", "images")
    return SourceChoice(**{**dict.fromkeys(names), "noise": False, **options})


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"data": Path()}, "neither a trained folder nor --timm"),
        ({"trained": Path(), "timm": NAME, "data": Path()}, "a trained folder and --timm"),
        ({"trained": Path(), "data": Path(), "weights": Path()}, "with --weights"),
        ({"trained": Path(), "data": Path(), "classes": 3}, "with --weights"),
        ({"trained": Path(), "noise": True}, "with --weights"),
        ({"trained": Path()}, "no pictures"),
        ({"timm": NAME}, "no pictures"),
        ({"timm": NAME, "data": Path(), "noise": True}, "both --data and --noise"),
        ({"timm": NAME, "module": "a:b", "data": Path()}, "--timm and --module"),
        ({"trained": Path(), "module": "a:b", "data": Path()}, "a trained folder and --module"),
        ({"timm": NAME, "mean": "0,0,0", "data": Path()}, "--mean or --std"),
        ({"module": "a:b", "classes": 3, "data": Path()}, "--module with --classes"),
    ],
)
def test_wrong_combinations_are_refused(options: dict[str, Any], got: str) -> None:
    """Options that contradict each other are errors that name them."""
    with pytest.raises(ConfigError, match=got):
        choice(**options)


def test_pictures_are_made_to_fit(pictures: Path) -> None:
    """Pictures at even distances through all classes, resized; a 'train' part is preferred to what lies beside it."""
    found = load_prepared(pictures, 6, lambda picture: torch.tensor(picture.getpixel((0, 0)) + picture.size))
    assert found.classes == ("ant", "bee", "cat")
    assert found.images[:, :2].tolist() == [[red, green] for red in (0, 100, 200) for green in (0, 20)]
    assert len(load_prepared(pictures, 100, lambda picture: torch.zeros(1)).images) == 12
    nested = pictures / "train" / "dog"
    nested.mkdir(parents=True)
    Image.new("L", (8, 8)).save(nested / "0.png")
    assert load_prepared(pictures, 100, lambda picture: torch.zeros(1)).classes == ("dog",)


def test_bad_folders_are_refused(pictures: Path, tmp_path: Path) -> None:
    """No pictures, and files that are none, are errors that name them."""
    with pytest.raises(InputError, match="no classes"):
        load_prepared(tmp_path / "missing", 4, lambda picture: torch.zeros(1))
    (pictures / "ant" / "0.png").write_text("no picture")
    with pytest.raises(InputError, match=r"ant/0\.png"):
        load_prepared(pictures, 4, lambda picture: torch.zeros(1))


@pytest.mark.usefixtures("small_timm")
def test_labels_are_the_folder_s_if_they_can_be(pictures: Path) -> None:
    """Class names come from a folder with as many classes as the model has; otherwise they are numbers."""
    source = open_source(choice(timm=NAME, data=pictures, images=5))
    assert source.labels == ("ant", "bee", "cat")
    assert source.images.shape == (5, 3, 16, 16)
    assert source.images[0, 0].unique().tolist() == [-1.0]  # red 0 with this tag's mean and deviation of 0.5
    source = open_source(choice(timm=NAME, data=pictures, classes=4))
    assert source.labels == ("class0", "class1", "class2", "class3")
    assert source.facts["labels"] == "numbered: the model has 4 classes, the folder 3"


@pytest.mark.usefixtures("small_timm")
def test_noise_is_pixels() -> None:
    """Noise for calibration is uniform on what pixels can be, and always the same."""
    first, second = (open_source(choice(timm=NAME, noise=True, images=20)).images for _ in range(2))
    assert torch.equal(first, second)
    assert first.unique().numel() == 256
    assert (first.min(), first.max()) == (-1, 1)


@pytest.mark.usefixtures("small_timm")
def test_export_of_a_backbone(pictures: Path, tmp_path: Path) -> None:
    """The command writes a model folder with timm's preprocessing, whose float model is the one exported."""
    out = tmp_path / "out"
    arguments = ["model", "export", "--timm", NAME, "--data", str(pictures), "--out", str(out), "--name", "mine"]
    run = CliRunner().invoke(app, [*arguments, "--images", "6", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["fidelity"] < 1e-9
    assert (result["weights"], result["labels"]) == ("random, seed 0", "the folder's classes")
    description = ModelFolder.load(out).description
    assert (description.labels, description.mean, description.std) == (("ant", "bee", "cat"), (0.5,) * 3, (0.5,) * 3)
    expected = open_source(choice(timm=NAME, data=pictures, images=6)).model
    noise = normalise(np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8), (0.5,) * 3, (0.5,) * 3)
    assert torch.equal(load_model(out)(noise), expected(noise))
    table = CliRunner().invoke(app, [*arguments, "--images", "6"])
    assert "random, seed 0" in table.stdout


@pytest.fixture
def data(pictures: Path, tmp_path: Path) -> Path:
    """The twelve pictures as a training part."""
    shutil.copytree(pictures, tmp_path / "data" / "train")
    return tmp_path / "data"


def test_an_exported_model_keeps_its_preprocessing_and_labels(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    """Mean, deviation and labels are the folder's, pictures of other sizes fit, and name and reveal can be seen."""
    source = open_source(choice(trained=tiny_folder, data=data))
    assert (source.labels, source.mean, source.std) == (("a", "b", "c"), (0.5,) * 3, (0.25,) * 3)
    assert source.images.shape == (12, 3, 8, 8)
    assert source.images[0, 0].unique().tolist() == [-2.0]  # red 0
    assert source.description == ModelFolder.load(tiny_folder).description
    out = tmp_path / "out"
    arguments = ["model", "export", str(tiny_folder), "--data", str(data), "--out", str(out), "--name", "mine"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    description = Description.load(out)
    assert (description.labels, description.mean, description.std) == (source.labels, source.mean, source.std)


@pytest.mark.parametrize(
    ("note", "expected"),
    [(None, CIFAR10), ({"config": {}}, CIFAR10), ({"config": {"data": "cifar100"}}, CIFAR100)],
)
def test_a_trained_model_s_data_set_says_how_pictures_are_prepared(
    note: dict[str, Any] | None, expected: DataSet, tiny_model: VisionTransformer, data: Path, tmp_path: Path
) -> None:
    """It is the one that training noted, or else CIFAR-10; labels are the pictures' classes."""
    save_model(tiny_model, tmp_path / "trained")
    if note is not None:
        (tmp_path / "trained" / "train.json").write_text(json.dumps(note))
    source = open_source(choice(trained=tmp_path / "trained", data=data))
    assert (source.labels, source.mean, source.std) == (("ant", "bee", "cat"), expected.mean, expected.std)
    assert source.description is None
    assert expected.name in source.facts["preprocessing"]


def test_pictures_of_the_right_size_stay_as_they_are(
    tiny_model: VisionTransformer, tiny_folder: Path, tmp_path: Path
) -> None:
    """Calibration reads what a test of the model would read, at even distances through the classes."""
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "train" / "abc"[number // 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    source = open_source(choice(trained=tiny_folder, data=tmp_path, images=3))
    chosen = load_folder(tmp_path / "train").spread(3).images
    assert torch.equal(source.images, normalise(chosen, (0.5,) * 3, (0.25,) * 3))


def test_pictures_of_another_data_set_are_refused(tiny_model: VisionTransformer, data: Path, tmp_path: Path) -> None:
    """A trained model takes its labels from pictures with as many classes as it has."""
    save_model(tiny_model, tmp_path / "trained")
    shutil.rmtree(data / "train" / "cat")
    with pytest.raises(InputError, match="2 classes of pictures for a model of 3"):
        open_source(choice(trained=tmp_path / "trained", data=data))


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"config": 1}'])
def test_damaged_notes_of_the_training_are_refused(
    text: str, tiny_model: VisionTransformer, data: Path, tmp_path: Path
) -> None:
    """The error names the file."""
    save_model(tiny_model, tmp_path / "trained")
    (tmp_path / "trained" / "train.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"train\.json"):
        open_source(choice(trained=tmp_path / "trained", data=data))


def test_a_model_for_grey_pictures_is_refused(data: Path, tmp_path: Path) -> None:
    """Pictures are RGB; the error says so instead of failing in the first layer."""
    save_model(make_model(replace(TINY, channels=1)), tmp_path / "trained")
    with pytest.raises(ConfigError, match=r"pictures of 1 channel.*RGB"):
        open_source(choice(trained=tmp_path / "trained", data=data))


FACTORY = """
from torch import nn
def build():
    module = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Flatten(), nn.Linear(24, 3))
    module.image_size, module.mean, module.std = 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return module
"""


def test_a_module_is_exported_by_its_factory(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Program with labels and normalisation, and no float model: what needs one says so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "factory_of_a_test.py").write_text(FACTORY)
    out = tmp_path / "out"
    command = ["model", "export", "--module", "factory_of_a_test:build", "--data", str(pictures), "--json"]
    result = CliRunner().invoke(app, [*command, "--out", str(out), "--name", "own"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["traced"], facts["labels"]) == ("factory_of_a_test:build", "the folder's classes")
    assert facts["fidelity"] < 1e-6
    folder = ModelFolder.load(out)
    assert folder.description.labels == ("ant", "bee", "cat")
    assert folder.description.mean == (0.5, 0.5, 0.5)
    with pytest.raises(ModelFileError, match=r"exported through torch\.export"):
        load_model(out)


VOLUMES = """
from torch import nn
from mpcvit.inputs import InputKind, InputSpec
def build():
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    module.input_spec = InputSpec(kind=InputKind.VOLUME, shape=(2, 4, 4), bits=16)
    module.mean, module.std = (0.5,), (0.25,)
    return module
"""


@pytest.mark.parametrize("noise", [False, True])
def test_a_module_of_other_inputs_is_exported(noise: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrated on what clients would read, or on noise of that depth; the description says what it reads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "volumes_of_a_test.py").write_text(VOLUMES)
    rng = np.random.default_rng(0)
    for label in ("ant", "bee", "cat"):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        for number in range(2):
            scan = rng.integers(0, 65536, (2, 4, 4), dtype=np.uint16)
            np.save(tmp_path / "data" / "train" / label / f"{number}.npy", scan)
    pictures = ["--noise"] if noise else ["--data", str(tmp_path / "data")]
    command = ["model", "export", "--module", "volumes_of_a_test:build", *pictures, "--name", "own", "--json"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    folder = ModelFolder.load(tmp_path / "out")
    spec = InputSpec(kind=InputKind.VOLUME, shape=(2, 4, 4), bits=16)
    assert folder.input == spec
    assert folder.description.labels == (("class0", "class1", "class2") if noise else ("ant", "bee", "cat"))
    options = {"noise": True} if noise else {"data": tmp_path / "data"}
    source = open_source(choice(module="volumes_of_a_test:build", **options))
    pixels = source.normalisation.pixels(source.images)
    assert pixels.shape[1:] == (2, 4, 4)
    assert pixels.max() > 255
    if not noise:
        assert pixels[0].tolist() == np.load(tmp_path / "data" / "train" / "ant" / "0.npy").tolist()


def test_timm_s_models_without_importer_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same option as others."""

    def make(name: str, **options: Any) -> nn.Module:
        sizes = {"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 12, "num_heads": 2, "num_classes": 3}
        return create_model("deit3_small_patch16_224", **{**sizes, "num_classes": options.get("num_classes", 3)})

    monkeypatch.setattr("mpcvit.models.timm_import.create_model", make)
    source = open_source(choice(timm="deit3_small_patch16_224", noise=True, images=2, image_size=16))
    assert source.model.config == TracedConfig(input_shape=(3, 16, 16), output_shape=(3,))
    assert source.facts["traced"] == "deit3_small_patch16_224"
