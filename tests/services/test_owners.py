"""Shares that were damaged, or that the wrong owner signed, are not served; clients see whose model it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import NotSigned
from mpcvit.store.exported import ModelFolder
from mpcvit.store.owner_key import make_key
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster


def test_a_signed_model_is_served_to_clients_that_ask_for_its_owner(
    tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Parties and clients name the owner; a client that names another one sends nothing."""
    key, _, owner = make_key(tmp_path / "owner")
    _, _, stranger = make_key(tmp_path / "stranger")
    _, shares = share_model(ModelFolder.load(tiny_folder), 2, tmp_path / "shares", key=key)
    cluster = LocalCluster(shares, tmp_path / "run", overrides={"owners": [str(owner)]})
    configured = cluster.client_config.read_text()
    with cluster:
        for public, accepted in ((owner, True), (stranger, False)):
            cluster.client_config.write_text(f"{configured}owners: [{public}]\n")
            with Client.from_config(cluster.client_config) as client:
                if accepted:
                    assert client.infer(tiny_pictures.images[0]).label in "abc"
                else:
                    with pytest.raises(NotSigned, match="from another owner"):
                        client.infer(tiny_pictures.images[0])
        for role in ("party0", "party1"):
            assert "signed by owner" in cluster.log(role)
            assert "names nobody" not in cluster.log(role)


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [("unsigned", 2, "NOT_SIGNED"), ("flipped", 1, "MODEL_FILE"), ("cut off", 1, "MODEL_FILE")],
)
def test_a_party_does_not_start_with_a_wrong_share(
    fault: str, code: int, reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    """It ends at once, with the error that names the folder or the file."""
    key, _, owner = make_key(tmp_path / "owner")
    _, shares = share_model(ModelFolder.load(tiny_folder), 2, tmp_path / "shares", key=key)
    path = shares[0] / "share.safetensors"
    content = bytearray(path.read_bytes())
    if fault == "unsigned":
        path = shares[0] / "manifest.sig"
        path.unlink()
    elif fault == "flipped":
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[:-1])
    cluster = LocalCluster(shares, tmp_path / "run", overrides={"owners": [str(owner)]})
    run = subprocess.run(
        [sys.executable, "-m", "mpcvit.cli", "party", "serve", "--config", str(cluster.folder / "party0.yaml")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = "".join((run.stdout + run.stderr).split())
    assert run.returncode == code, said
    assert reason in said
    assert str(shares[0] if fault == "unsigned" else path) in said
