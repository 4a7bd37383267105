"""Models of other inputs than RGB pictures, from a trained folder to their accuracy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpcvit.errors import ConfigError, InputError, ModelFileError, ShapeMismatch
from mpcvit.export.model import export_model
from mpcvit.export.source import SourceChoice, open_source
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.inputs.read import as_source, read_input
from mpcvit.measure.accuracy import Executor, evaluate
from mpcvit.measure.scored_pictures import scored_pictures
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.trained import save_model
from tests.support.medical import npy
from tests.support.models import TINY, make_model
from tests.support.typed_models import typed_model

CLASSES = ("a", "b", "c")
SPECS = {
    "gray": InputSpec(shape=(1, 8, 8), bits=16),
    "volume": InputSpec(kind=InputKind.VOLUME, shape=(4, 8, 8)),
    "channels": InputSpec(kind=InputKind.CHANNELS, shape=(4, 8, 8)),
}


def trained_folder(folder: Path, spec: InputSpec) -> Path:
    """A trained model, and its description."""
    save_model(make_model(replace(TINY, channels=spec.shape[0])), folder)
    means = (0.5,) * spec.channels
    Description(name="typed", version="1", labels=CLASSES, mean=means, std=means, input=spec).save(folder)
    return folder


def data_folder(folder: Path, spec: InputSpec) -> Path:
    """Inputs of every class, as files and as folders of parts."""
    generator = np.random.default_rng(0)
    for name in CLASSES:
        for split in ("train", "test"):
            inside = folder / split / name
            inside.mkdir(parents=True)
            for number in range(2):
                pixels = generator.integers(0, spec.largest + 1, spec.shape).astype(f"uint{spec.bits}")
                (inside / f"{number}.npy").write_bytes(npy(pixels[0] if spec.parts == 1 else pixels))
            if spec.parts == 1:
                Image.fromarray(pixels[0]).save(inside / "2.png")
                continue
            (inside / "parts").mkdir()
            for number, plane in enumerate(pixels):
                Image.fromarray(plane).save(inside / "parts" / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", ["gray", pytest.param("volume", marks=pytest.mark.slow)])
def test_from_a_trained_folder_to_accuracy(name: str, tmp_path: Path) -> None:
    """Calibration and scores read inputs as clients do; the Program answers as the float model."""
    spec = SPECS[name]
    trained, data = trained_folder(tmp_path / "trained", spec), data_folder(tmp_path / "data", spec)
    source = open_source(SourceChoice(trained=trained, data=data))
    assert source.images.shape == (9, *spec.shape)
    assert float(source.images.min()) < -0.9
    exported = export_model(source.model, source.images, normalisation=source.normalisation)
    description = source.describe("typed", "1", exported.reveal)
    model = ModelFolder(description, exported.program, exported.weights)
    assert model.input == spec
    model.save(trained)
    images = scored_pictures(trained, data, 0, "", False)
    assert images.images.shape == (9, *spec.shape)
    found = evaluate(trained, images, Executor.REFERENCE)
    assert found.agreement_with_float == 1
    assert found.max_abs_logit_diff is not None
    assert found.max_abs_logit_diff < 0.05


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_inputs_are_scored_as_clients_read_them(spec: InputSpec, tmp_path: Path) -> None:
    """Files, and folders of parts; one of another size is refused, and named."""
    _, model = typed_model(spec)
    model.save(tmp_path / "model")
    data = data_folder(tmp_path / "data", spec)
    images = scored_pictures(tmp_path / "model", data, 0, "", False)
    assert images.images.shape == (9, *spec.shape)
    for number in range(9):
        again = read_input(as_source(images.images[number], spec), spec)
        assert (again.pixels == images.images[number]).all()
    with pytest.raises(InputError, match="8-bit RGB pictures, for this command"):
        _ = model.picture_size
    (data / "test" / "a" / "0.npy").write_bytes(
        npy(np.zeros((*([] if spec.parts == 1 else [4]), 9, 8), images.images.dtype))
    )
    with pytest.raises(ShapeMismatch):
        scored_pictures(tmp_path / "model", data, 0, "", False)
    assert len(scored_pictures(tmp_path / "model", data, 3, "model", False)) == 3


def test_descriptions_that_do_not_fit(tmp_path: Path) -> None:
    """Another shape than the model's; no description of an input that is no RGB picture."""
    spec = SPECS["gray"]
    trained, data = trained_folder(tmp_path / "trained", spec), data_folder(tmp_path / "data", spec)
    choice = SourceChoice(trained=trained, data=data)
    (data / "train" / "a" / "0.npy").write_bytes(npy(np.zeros((7, 8), np.uint8)))
    assert open_source(choice).images.shape == (9, 1, 8, 8)  # made to fit
    description = Description.load(trained)
    replace(description, input=InputSpec(shape=(1, 8, 9), bits=16)).save(trained)
    with pytest.raises(ModelFileError, match=r"inputs \[1, 8, 8\].*described as a picture of 9 x 8"):
        open_source(choice)
    replace(description, input=None).save(trained)
    with pytest.raises(ConfigError, match=r"1 channel.*no model\.json names another input"):
        open_source(choice)
