"""After all other faults: nothing secret is in anything that any role printed or left behind."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pytest

from mpcvit.client import Submission
from mpcvit.errors import MpcvitError
from tests.support.canaries import Canaries
from tests.support.deployment import Deployment
from tests.support.raw_client import Raw
from tests.support.reliability import Case


@pytest.fixture
def canaries(deployment: Deployment, outputs: Path) -> Canaries:
    """Pictures and logits that every test used, keys, and the shares and results of one more session."""
    known = Canaries()
    for picture in deployment.pictures:
        known.add_array("a picture", picture)
    for logits in deployment.right:
        known.add_numbers("logits", logits.tolist())
    for key in [*(deployment.folder / "tls").glob("*.key"), *(deployment.folder / "issued").glob("*.key")]:
        known.add_bytes(f"the key of {key.stem}", "".join(key.read_text().splitlines()[1:3]).encode()[8:])
    for share in deployment.folder.glob("shares/party*/share.safetensors"):
        known.add_bytes("a share of weights", share.read_bytes()[-256:])
    raw = Raw(deployment.cluster)
    spec = raw.spec()
    seed, masked = (submission.share for submission in raw.shares(spec, deployment.pictures[0]))
    assert isinstance(seed, bytes)
    assert isinstance(masked, np.ndarray)
    known.add_bytes("a share of a picture", seed)
    known.add_array("a share of a picture", masked)
    for party, submission in zip(raw.parties, (seed, masked), strict=True):
        party.submit(Submission(spec, submission), raw.deadline)
    for party in raw.parties:
        share, _ = party.fetch(spec.session_id, raw.deadline, lambda *_: None)
        known.add_array("a share of a result", share.codes)
    raw = Raw(deployment.cluster, deployment.issue("careless.client"))  # who shares garbage has to wait
    wrong = raw.spec()
    garbage = secrets.token_bytes(32), np.random.default_rng().integers(-(2**62), 2**62, tuple(spec.input_shape))
    for party, submission in zip(raw.parties, garbage, strict=True):
        party.submit(Submission(wrong, submission), raw.deadline)
    known.add_array("a share that fails", garbage[1])
    for party in raw.parties:
        with pytest.raises(MpcvitError):
            party.fetch(wrong.session_id, raw.deadline, lambda *_: None)
    return known


def _print_metrics(deployment: Deployment) -> None:
    for role in deployment.cluster.roles:
        metrics = deployment.metrics(role)
        assert "mpcvit_" in metrics
        (deployment.folder / f"{role}.metrics.log").write_text(metrics)


def test_canaries_are_found(tmp_path: Path) -> None:
    """The search finds what is there."""
    known = Canaries()
    known.add_bytes("key", bytes(range(32)))
    known.add_array("codes", np.array([11, 22, 33, 44, 55]))
    for text in (bytes(range(40)).hex(), "[11, 22, 33, 44, 55]", repr(bytes(range(32))), "codes 22 33 44 55"):
        (tmp_path / "log").write_text(text)
        assert list(known.found_in(tmp_path / "log")), text
    (tmp_path / "log").write_text("11, 22, 7, 33")
    assert not list(known.found_in(tmp_path / "log"))


@pytest.mark.case(
    42, "logs, metrics, errors and core files of this run are searched for known secrets", "none is found"
)
def test_42_nothing_leaked(deployment: Deployment, canaries: Canaries, outputs: Path, case: Case) -> None:
    _print_metrics(deployment)
    files = [path for path in outputs.rglob("*") if path.is_file()]
    files += list(deployment.folder.glob("*.log"))
    files += list(deployment.folder.glob("state/**/*.jsonl"))
    files += [path for folder in (deployment.folder, Path.cwd()) for path in folder.glob("core*") if path.is_file()]
    records = Path(__file__).resolve().parents[2] / "build/faults"
    files += list(records.glob("*.json"))
    leaks = {f"{what} in {path.name}" for path in files for what in canaries.found_in(path)}
    size = sum(path.stat().st_size for path in files)
    case.saw(f"{len(canaries)} patterns in {len(files)} files of {size / 2**20:.1f} MiB")
    assert not leaks
    assert len(files) > 3
