"""Models with several budgets on disk: exported, shared and loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mpcvit.errors import BudgetUnknown, ModelFileError, NotSigned
from mpcvit.program.views import View, parse_views, save_views
from mpcvit.ring.sharing import join
from mpcvit.store.budgets import BudgetProgram, load_programs
from mpcvit.store.exported import ModelFolder
from mpcvit.store.owner_key import make_key
from mpcvit.store.shared import budget_digests, load_share, load_shares, share_model
from mpcvit.wire.budget import FULL
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import ANYBODY, Owners


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ModelFolder:
    """The tiny model, and a Program like its own that reads a slice and two tensors of its own."""
    whole = ModelFolder.load(tiny_folder)
    own = {name: codes + 1 for name, codes in whole.weights.items() if name in ("head.bias", "embed.bias")}
    views = {
        name: View(name, ((),) * codes.ndim if codes.ndim < 2 else (((0, codes.shape[0]),), ()))
        for name, codes in whole.weights.items()
        if name not in own
    }
    return ModelFolder(
        whole.description, whole.program, whole.weights, {"fast": BudgetProgram(whole.program, views, own)}
    )


@pytest.fixture
def shares(model: ModelFolder, tmp_path: Path) -> list[Path]:
    """One sharing of it."""
    return share_model(model, 2, tmp_path / "shares")[1]


def test_views_are_slices_in_the_order_of_their_runs(tmp_path: Path) -> None:
    """Of any axis; what does not fit is refused."""
    codes = np.arange(24).reshape(4, 6)
    view = View("w", (((2, 4), (0, 1)), ((1, 3),)))
    assert view.read(codes).tolist() == [[13, 14], [19, 20], [1, 2]]
    assert View("w", ((), ())).read(codes) is codes
    save_views({"v": view}, tmp_path / "views.json")
    assert parse_views((tmp_path / "views.json").read_bytes(), tmp_path) == {"v": view}
    for wrong in (
        View("w", ((),)),
        View("w", (((0, 5),), ())),
        View("w", (((2, 2),), ())),
        View("w", (((-1, 2),), ())),
    ):
        with pytest.raises(ValueError, match=r"axes|ranges"):
            wrong.read(codes)
    with pytest.raises(ModelFileError):
        parse_views(b'{"v": {"stored": "w", "runs": [[1]]}}', tmp_path)


def test_an_exported_model_keeps_its_budgets(model: ModelFolder, tmp_path: Path) -> None:
    """Saved, loaded, and taken one at a time."""
    model.save(tmp_path)
    loaded = ModelFolder.load(tmp_path)
    assert list(loaded.programs) == list(load_programs(tmp_path)) == [FULL, "fast"]
    for budget in loaded.programs:
        assert loaded.at(budget).program.digest == model.at(budget).program.digest
        assert all((loaded.at(budget).weights[name] == codes).all() for name, codes in model.at(budget).weights.items())
    assert (loaded.at("fast").weights["head.bias"] == model.weights["head.bias"] + 1).all()
    with pytest.raises(BudgetUnknown, match="budget 'slow' of model 'tiny'; expected one of full, fast"):
        loaded.at("slow")


@pytest.mark.parametrize("parties", [2, 3])
def test_all_programs_read_one_set_of_shares(model: ModelFolder, tmp_path: Path, parties: int) -> None:
    """What is stored is shared once; every Program's share is a slice of it, and adds up to its weights."""
    manifest, folders = share_model(model, parties, tmp_path)
    last = load_file(folders[-1] / "share.safetensors")
    assert set(last) == {*model.weights, "fast/head.bias", "fast/embed.bias"}
    assert not any(list(folder.glob("budgets/**/*.safetensors")) for folder in folders)
    shares = [{one.manifest.budget: one for one in load_shares(folder, i, ANYBODY)} for i, folder in enumerate(folders)]
    for budget in (FULL, "fast"):
        for name, codes in model.at(budget).weights.items():
            assert (join([share[budget].weights[name] for share in shares]) == codes).all()
    for share in shares:
        matrix = "block0.norm_fc1.matmul.weight"
        assert (share["fast"].weights[matrix] == share[FULL].weights[matrix]).all()
        assert not (share["fast"].weights["head.bias"] == share[FULL].weights["head.bias"]).any()
        assert share["fast"].manifest.whole(manifest) == share[FULL].manifest == manifest
        assert [one.budget for one in share["fast"].manifest.programs] == [FULL, "fast"]


def test_the_whole_models_manifest_is_as_without_budgets(model: ModelFolder, shares: list[Path]) -> None:
    """It does not name budgets; those of budgets do, each with the digest of its Program and what it costs."""
    document = json.loads((shares[0] / "manifest.json").read_text())
    assert {"budget", "views_sha256", "programs"}.isdisjoint(document)
    raw = (shares[0] / "budgets/fast/manifest.json").read_bytes()
    manifest = Manifest.parse(raw)
    assert (manifest.budget, manifest.key, manifest.pin_name) == ("fast", "tiny:1@fast", "tiny@fast")
    assert budget_digests(shares[0]) == {"fast": manifest.digest.hex()}
    assert {one.program_sha256 for one in manifest.programs} == {model.program.digest}
    assert all(one.rounds > 0 and one.bytes_sent > 0 and one.material_bytes > 0 for one in manifest.programs)


@pytest.mark.parametrize(
    "change",
    [
        {"budget": "full"},
        {"budget": "Fast"},
        {"views_sha256": ""},
        {"programs": []},
        {"programs": [{"budget": "full"}]},
        {"program_sha256": "0" * 64},
    ],
)
def test_manifests_that_do_not_fit_together_are_refused(shares: list[Path], change: dict[str, object]) -> None:
    """A name that no budget has, no views, no costs, another Program than the list's."""
    document = {**json.loads((shares[0] / "budgets/fast/manifest.json").read_text()), **change}
    with pytest.raises(ModelFileError):
        Manifest.parse(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def test_damaged_budgets_are_refused(model: ModelFolder, shares: list[Path], tmp_path: Path) -> None:
    """Other views, another run's manifest, a strange folder, a budget that is not there: typed errors."""
    with pytest.raises(BudgetUnknown, match="'slow'"):
        load_share(shares[0], 0, ANYBODY, "slow")
    place = shares[0] / "budgets/fast"
    views = (place / "views.json").read_bytes()
    (place / "views.json").write_bytes(views.replace(b"embed", b"embcd"))
    with pytest.raises(ModelFileError, match="damaged"):
        load_shares(shares[0], 0, ANYBODY)
    (place / "views.json").write_bytes(views)
    others = share_model(model, 2, tmp_path / "others")[1]
    shutil.copy(others[0] / "budgets/fast/manifest.json", place / "manifest.json")
    with pytest.raises(ModelFileError, match="same 'mpcvit model share' run"):
        load_shares(shares[0], 0, ANYBODY)
    place.rename(place.with_name("Fast"))
    with pytest.raises(ModelFileError, match="a folder per budget"):
        load_shares(shares[0], 0, ANYBODY)


def test_every_budget_is_signed(model: ModelFolder, tmp_path: Path) -> None:
    """An owner's signature covers each Program; without one of a budget's, nothing is taken."""
    key, _, public = make_key(tmp_path / "owner")
    _, folders = share_model(model, 2, tmp_path / "shares", key=key)
    owners = Owners.read([public])
    assert len({share.owner for share in load_shares(folders[0], 0, owners)} - {None}) == 1
    (folders[0] / "budgets/fast/manifest.sig").unlink()
    with pytest.raises(NotSigned):
        load_shares(folders[0], 0, owners)


def test_a_share_without_what_a_budget_needs_is_refused(model: ModelFolder, tmp_path: Path) -> None:
    """A damaged exported folder: a budget's own tensors are missing."""
    model.save(tmp_path)
    path = tmp_path / "budgets/fast/weights.safetensors"
    save_file({"head.bias": load_file(path)["head.bias"]}, path)
    with pytest.raises(Exception, match=r"embed\.bias"):
        ModelFolder.load(tmp_path)
