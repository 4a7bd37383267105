"""Model files that are damaged or of another share set, models whose ranges are too small, updates under load."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mpcvit.client import Client
from mpcvit.errors import MpcvitError
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import MANIFEST_FILE, SHARE_FILE, load_share, share_model
from mpcvit.wire.owners import ANYBODY
from tests.support.clusters import make_cluster
from tests.support.deployment import Deployment, Outcome
from tests.support.guards import tampered
from tests.support.images import make_images
from tests.support.models import TINY
from tests.support.reliability import Case


@pytest.mark.case(16, "party 1 serves another share set of the same model", "MODEL_MISMATCH, no material is used")
def test_16_another_share_set(own_deployment: Deployment, tiny_folder: Path, case: Case) -> None:
    _, shares = share_model(ModelFolder.load(tiny_folder), 2, own_deployment.folder / "others")
    models = own_deployment.configuration("party1")["models"]
    used = own_deployment.burned_material("party0")
    own_deployment.configure("party1", models=[str(shares[1])])
    own_deployment.restart("party1")
    outcome = own_deployment.eventually({"MODEL_MISMATCH"})
    case.saw(outcome)
    assert used == own_deployment.burned_material("party0")
    own_deployment.configure("party1", models=models)
    own_deployment.restart("party1")


@pytest.mark.long
@pytest.mark.case(29, "a value leaves the range that the model was exported for", "ANSWER_OUT_OF_RANGE, no answer")
def test_29_value_out_of_range(tiny_model: VisionTransformer, tiny_folder: Path, tmp_path: Path, case: Case) -> None:
    exported = export_vit(tiny_model, make_images(TINY, 64), Precision(guards=True))
    description = ModelFolder.load(tiny_folder).description
    ModelFolder(description, tampered(exported.program), exported.weights).save(tmp_path / "model")
    picture = make_images(TINY, 1)
    with (
        make_cluster(tmp_path / "model", tmp_path) as running,
        Client.from_config(running.client_config) as client,
        pytest.raises(MpcvitError) as caught,
    ):
        client.infer(picture[0].numpy(), normalised=True)
    case.saw(caught.value.reason)
    assert caught.value.reason == "ANSWER_OUT_OF_RANGE"


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) - 40] ^= 1
    path.write_bytes(bytes(content))


def _pickle(path: Path, proof: Path) -> None:
    """Bytes that would make a file if anybody unpickled them."""
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR.")


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "a flipped bit": lambda folder, proof: _flip(folder / SHARE_FILE),
    "a truncated share": lambda folder, proof: (folder / SHARE_FILE).write_bytes(
        (folder / SHARE_FILE).read_bytes()[:-16]
    ),
    "a pickle as share": lambda folder, proof: _pickle(folder / SHARE_FILE, proof),
    "a pickle as manifest": lambda folder, proof: _pickle(folder / MANIFEST_FILE, proof),
    "no share": lambda folder, proof: (folder / SHARE_FILE).unlink(),
    "a manifest that is cut": lambda folder, proof: (folder / MANIFEST_FILE).write_text(
        (folder / MANIFEST_FILE).read_text()[:-20]
    ),
    "a name that is a path": lambda folder, proof: (folder / MANIFEST_FILE).write_text(
        json.dumps({**json.loads((folder / MANIFEST_FILE).read_text()), "name": "../../etc"})
    ),
    "another program": lambda folder, proof: _flip(folder / "program.json"),
}


@pytest.mark.case(36, "a party's model folder", "refused with a reason, nothing is executed")
@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("index", [0, 1], ids=["party 0", "party 1"])
def test_36_damaged_model(tiny_folder: Path, tmp_path: Path, case: Case, damage: str, index: int) -> None:
    _, shares = share_model(ModelFolder.load(tiny_folder), 2, tmp_path / "shares")
    load_share(shares[index], index, ANYBODY)
    proof = tmp_path / "executed"
    DAMAGES[damage](shares[index], proof)
    with pytest.raises(MpcvitError) as caught:
        load_share(shares[index], index, ANYBODY)
    case.saw(f"{caught.value.reason}: {Path(caught.value.got.split(':')[0]).name[:80]}")
    assert caught.value.reason in {"MODEL_FILE", "MODEL_MISMATCH", "PROGRAM_MISMATCH", "PROGRAM", "SHAPE_MISMATCH"}
    assert not proof.exists()


@pytest.mark.case(36, "a party is started with a damaged share", "it does not start; exit code and message say why")
def test_36_party_does_not_start(own_deployment: Deployment, case: Case) -> None:
    share = Path(own_deployment.configuration("party1")["models"][0])
    kept = shutil.copytree(share, own_deployment.folder / "kept")
    own_deployment.cluster.processes["party1"].terminate()
    own_deployment.cluster.processes["party1"].wait(timeout=60)
    _flip(share / SHARE_FILE)
    own_deployment.cluster.start("party1")
    code = own_deployment.cluster.processes["party1"].wait(timeout=30)
    said = own_deployment.cluster.log("party1").strip().splitlines()
    case.saw(f"exit {code}")
    assert code not in (0, None)
    assert any("MODEL_FILE" in line for line in said[-8:])
    shutil.rmtree(share)
    kept.rename(share)


@pytest.mark.case(
    38, "new shares at one party first, then at the other, while clients ask", "typed errors, no wrong answer"
)
def test_38_rolling_update(own_deployment: Deployment, tiny_folder: Path, case: Case) -> None:
    _, shares = share_model(ModelFolder.load(tiny_folder), 2, own_deployment.folder / "new")
    outcomes: list[Outcome] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            outcomes.append(own_deployment.attempt(deadline_s=15))
            time.sleep(0.1)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for index in (0, 1):
            time.sleep(1)
            own_deployment.configure(f"party{index}", models=[str(shares[index])])
            own_deployment.restart(f"party{index}")
        time.sleep(2)
    finally:
        stop.set()
        asking.join()
    reasons = Counter(outcome.reason for outcome in outcomes)
    case.saw(", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    assert "INTERNAL" not in reasons
    assert reasons["right"]
