"""Inputs that are no RGB pictures, from their pixels to the answer on shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mpcvit.client import Client, MockTransport
from mpcvit.errors import InputOutOfRange, ModelFileError
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import load_share, share_model
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import ANYBODY
from tests.support.fast import replay, run_on_fast
from tests.support.secure import run_secure
from tests.support.typed_models import of_input, typed_model

SPECS = {
    "gray": InputSpec(shape=(1, 4, 6)),
    "deep gray": InputSpec(shape=(1, 4, 6), bits=16, window=(-1000.0, 1000.0)),
    "spectral": InputSpec(shape=(5, 4, 6), bits=16),
    "channels": InputSpec(kind=InputKind.CHANNELS, shape=(4, 4, 6)),
    "clip": InputSpec(kind=InputKind.CLIP, shape=(3, 3, 4, 6)),
    "volume": InputSpec(kind=InputKind.VOLUME, shape=(5, 4, 6), bits=16),
    "bag": InputSpec(kind=InputKind.BAG, shape=(3, 3, 4, 6)),
    "person": InputSpec(kind=InputKind.PERSON, shape=(2, 1, 4, 6), bits=16),
}


def pixels_of(spec: InputSpec) -> Codes:
    codes = np.random.default_rng(0).integers(0, spec.largest + 1, spec.shape)
    codes.reshape(-1)[:2] = 0, spec.largest
    return codes


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_shares_answer_as_the_model_does(spec: InputSpec) -> None:
    """The fast engine bit for bit the reference, which is near the float model; one code beside the range ends it."""
    net, model = typed_model(spec)
    codes = pixels_of(spec)
    run = run_on_fast(model.program, model.weights, {"image": codes})
    assert (run.output == replay(run, model.weights, {"image": codes})).all()
    frac = model.program.types[model.program.output].frac
    logits = decode(run_reference(model.program, model.weights, {"image": codes[None]})[0], frac)
    expected = net.double()(of_input(spec).floats(torch.from_numpy(codes[None])))[0].detach().numpy()
    assert np.abs(logits - expected).max() < 0.01
    assert np.abs(decode(run.output, frac) - expected).max() < 0.01
    codes.reshape(-1)[-1] = spec.largest + 1
    with pytest.raises(InputOutOfRange, match=f"from 0 to {spec.largest}"):
        run_on_fast(model.program, model.weights, {"image": codes})


def test_the_stock_engine_answers_too() -> None:
    """For three parties as well."""
    spec = SPECS["volume"]
    net, model = typed_model(spec)
    codes = pixels_of(spec)
    expected = net.double()(of_input(spec).floats(torch.from_numpy(codes[None])))[0].detach().numpy()
    frac = model.program.types[model.program.output].frac
    for parties in (2, 3):
        logits = decode(run_secure(model.program, model.weights, {"image": codes}, parties).output, frac)
        assert np.abs(logits - expected).max() < 0.02


@pytest.mark.parametrize("name", SPECS)
def test_folders_shares_and_manifests_keep_the_input(name: str, tmp_path: Path) -> None:
    """An exported folder and share folders load as they were saved; clients encode by the manifest of the shares."""
    spec = SPECS[name]
    _, model = typed_model(spec)
    model.save(tmp_path / "model")
    loaded = ModelFolder.load(tmp_path / "model")
    assert loaded.input == spec
    manifest, folders = share_model(loaded, 2, tmp_path / "shares")
    assert load_share(folders[1], 1, ANYBODY).manifest == Manifest.parse(manifest.canonical()) == manifest
    assert manifest.input == spec
    seen: list[Codes] = []

    def answer(codes: Codes) -> Codes:
        seen.append(codes)
        return np.zeros(3, np.int64)

    codes = pixels_of(spec)
    floats = of_input(spec).floats(torch.from_numpy(codes)).numpy()
    pictures = codes.astype(f"uint{spec.bits}")
    if spec.kind is not InputKind.CHANNELS:
        pictures = pictures if spec.kind is InputKind.VOLUME else np.moveaxis(pictures, -3, -1)
    with Client(MockTransport.parties(manifest, answer)) as client:
        client.infer(floats, normalised=True)
        client.infer(pictures)
        if spec.parts > 1:
            client.infer(list(pictures))
    assert all((codes == one).all() for one in seen)
    assert all(one.shape == spec.shape for one in seen)


def test_files_of_a_model_belong_together() -> None:
    """A Program that reads another shape or another depth than the description says is no model."""
    _, model = typed_model(SPECS["volume"])
    for wrong in (
        None,
        replace(SPECS["volume"], bits=8),
        replace(SPECS["volume"], shape=(5, 6, 4)),
        InputSpec(kind=InputKind.CHANNELS, shape=(5, 4, 6), bits=16),  # it has five means
    ):
        with pytest.raises(ModelFileError):
            ModelFolder(replace(model.description, input=wrong), model.program, model.weights)
