"""A DICOM slice and a NIfTI volume, classified by real parties and a real dealer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mpcvit.client import Client, ClientSettings
from mpcvit.client.image import encode_picture
from mpcvit.errors import InputOutOfRange, ShapeMismatch
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.inputs.read import read_input
from mpcvit.store.shared import share_model
from mpcvit.wire.tls import TlsFiles
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from tests.support.channels import secure_channel
from tests.support.clusters import TIMEOUTS
from tests.support.last_release import LastReleaseClient
from tests.support.medical import dicom, nifti
from tests.support.typed_models import of_input, typed_model

HOUNSFIELD = (-1000.0, 1000.0)
SLICE = InputSpec(shape=(1, 24, 32), bits=16, window=HOUNSFIELD)
VOLUME = InputSpec(kind=InputKind.VOLUME, shape=(6, 16, 16), bits=16, window=HOUNSFIELD)


def test_medical_files_are_classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both models at the same parties; answers are the float nets', and files that do not fit never leave the client.

    What is no pixel ends the session at the parties; clients of the last release are shown neither model.
    """
    nets, shares = {}, {}
    for name, spec in (("slice", SLICE), ("volume", VOLUME)):
        nets[name], model = typed_model(spec, name)
        _, shares[name] = share_model(model, 2, tmp_path / name)
    cluster = LocalCluster(shares["slice"], tmp_path, overrides={"timeouts": TIMEOUTS})
    for role, key, folder in (("party0", "models", 0), ("party1", "models", 1), ("dealer", "programs", 0)):
        path = tmp_path / f"{role}.yaml"
        document = yaml.safe_load(path.read_text())
        document[key].append(str(shares["volume"][folder].resolve()))
        path.write_text(yaml.safe_dump(document))
    generator = np.random.default_rng(7)
    stored = generator.integers(0, 2048, (24, 32), dtype=np.int16)
    measured = generator.normal(0, 500, (16, 16, 6)).astype(np.float32)
    (tmp_path / "slice.dcm").write_bytes(dicom(stored, RescaleSlope="1", RescaleIntercept="-1024"))
    (tmp_path / "volume.nii.gz").write_bytes(nifti(measured, packed=True))
    files = {"slice": tmp_path / "slice.dcm", "volume": tmp_path / "volume.nii.gz"}
    with cluster, Client.from_config(cluster.client_config) as client:
        for name, spec in (("slice", SLICE), ("volume", VOLUME)):
            pixels = torch.from_numpy(read_input(files[name], spec).pixels.astype(np.int64))
            expected = nets[name].double()(of_input(spec).floats(pixels[None]))[0].detach().numpy()
            answer = client.infer(files[name], name)
            assert np.abs(answer.logits - expected).max() < 0.01
            assert answer.label == "abc"[expected.argmax()]
        with pytest.raises(ShapeMismatch, match="1 slices; expected a volume: 6 slices"):
            client.infer(files["slice"], "volume")
        monkeypatch.setattr("mpcvit.client.base.encode_pixels", lambda pixels: pixels.astype(np.int64) + (1 << 16))
        with pytest.raises(InputOutOfRange, match="from 0 to 65535"):
            client.infer(files["slice"], "slice")
        tls = TlsFiles.in_folder(tmp_path / "tls", CLIENT_ROLE)
        (address, *_) = ClientSettings.read(cluster.client_config).parties
        with secure_channel(address, tls, "party0") as channel:
            assert LastReleaseClient.on([channel]).models() == []
        manifests = {manifest.name: manifest for manifest in client.models()}
        assert encode_picture(files["volume"], manifests["volume"]).shape == (6, 16, 16)
