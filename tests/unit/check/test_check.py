"""``mpcvit model check``: what is watched, the pictures, the attacks, and what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mpcvit.check.ascent import Ascent, Target
from mpcvit.check.check import Checker
from mpcvit.check.edges import Edge, Watch
from mpcvit.check.families import BACKBONES, pictures
from mpcvit.check.models import real_model
from mpcvit.cli.main import app
from mpcvit.export.builder import Precision
from mpcvit.export.exported import INPUT, Exported
from mpcvit.export.model import export_model
from mpcvit.models.kinds import Norm
from mpcvit.ops import Relu
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.trained import save_model
from tests.support.cases import t
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import make_variant
from tests.support.models import TINY
from tests.support.secure import one_op

PHOTOGRAPHS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def relu_program() -> Program:
    """A ReLU of four numbers of range [-8, 8]; its window is a little wider."""
    return one_op(Relu(), t((4,), frac=4))


def edge(**fields: Any) -> Edge:
    """One that used half of its window."""
    return replace(Edge("gate", "relu", upper=True, value=4.0, bound=8.0, picture=0, proven=True), **fields)


@pytest.mark.parametrize(
    ("fields", "share", "left"),
    [
        ({}, 0.5, False),
        ({"value": 9.0}, 9 / 8, True),
        ({"value": -2.0}, -0.25, False),
        ({"upper": False, "value": -4.0, "bound": -8.0}, 0.5, False),
        ({"upper": False, "value": -9.0, "bound": -8.0}, 9 / 8, True),
        # a reciprocal's input does not come near 0: the window ends above it
        ({"upper": False, "value": 2.0, "bound": 1.0}, 0.5, False),
        ({"upper": False, "value": 0.5, "bound": 1.0}, 2.0, True),
        ({"upper": False, "value": 0.0, "bound": 0.0}, 0.0, False),
        ({"upper": False, "value": -1.0, "bound": 0.0}, float("inf"), True),
    ],
)
def test_edges_know_what_is_left_of_a_window(fields: dict[str, Any], share: float, left: bool) -> None:
    """1 at its end, more beyond."""
    assert (edge(**fields).share, edge(**fields).left) == (share, left)


def test_watch_remembers_extremes_and_who_left() -> None:
    """By the numbers of pictures over several batches; nothing is refused."""
    program = relu_program()
    watch = Watch(program)
    (node,) = program.nodes
    least, largest = node.op.window(program.input_types(node))
    first = np.array([[1, 2, 3, 4], [5, -6, 0, 0]], dtype=np.int64)
    second = np.array([[0, 0, 0, 0], [largest + 16, 0, 0, 0], [0, least, 0, largest]], dtype=np.int64)
    run_reference(program, {}, {"x0": first}, observe=watch)
    assert watch.outside == set()
    assert [(found.upper, found.value, found.picture) for found in sorted(watch.edges, key=lambda e: e.upper)] == [
        (False, -6 / 16, 1),
        (True, 5 / 16, 1),
    ]
    watch.first = 2
    run_reference(program, {}, {"x0": second}, observe=watch)
    assert watch.outside == {3}
    worst, other = watch.edges
    assert (worst.upper, worst.value, worst.bound, worst.picture) == (True, (largest + 16) / 16, largest / 16, 3)
    assert (other.value, other.bound, other.picture, other.left) == (least / 16, least / 16, 4, False)


@pytest.mark.parametrize("shape", [(8, 8, 3), (32, 32, 3), (9, 12, 1)])
def test_every_family_draws_pictures_of_the_shape(shape: tuple[int, int, int]) -> None:
    """The same ones for the same seed, others for another; photographs stay as they are."""
    photographs = np.random.default_rng(1).integers(0, 256, (2, *shape), dtype=np.uint8)
    kept = photographs.copy()
    count = 4 * len(BACKBONES)
    drawn, again, other = (list(pictures(count, shape, photographs, seed)) for seed in (3, 3, 4))
    assert [name for name, _ in drawn] == 4 * list(BACKBONES)
    for name, picture in drawn:
        assert (picture.shape, picture.dtype) == (shape, np.uint8), name
    assert all((one == two).all() for (_, one), (_, two) in zip(drawn, again, strict=True))
    assert sum((one != two).any() for (_, one), (_, two) in zip(drawn, other, strict=True)) > count / 2
    assert (photographs == kept).all()


def test_families_have_extremes() -> None:
    """Black and white are among the pictures, and pictures of nothing else."""
    drawn = [picture for _, picture in pictures(len(BACKBONES) * 25, (8, 8, 3), PHOTOGRAPHS, 0)]
    assert any((picture == 0).all() for picture in drawn)
    assert any((picture == 255).all() for picture in drawn)
    assert sum(bool(np.isin(picture, (0, 255)).all()) for picture in drawn) > len(drawn) / 4


def test_attacks_go_where_calibration_did_not(tiny_exported: Exported) -> None:
    """Gradient ascent from a grey picture uses more of a gate's window than the grey picture does."""
    program, grey = tiny_exported.program, np.full((3, 8, 8), 120, dtype=np.uint8)
    watch = Watch(program)
    run_reference(program, tiny_exported.weights, {INPUT: grey[None].astype(np.int64)}, observe=watch)
    before = {(found.node, found.upper): found for found in watch.edges}
    chosen = [found for found in watch.edges if found.op == "relu" and found.upper and found.value > 0]
    attacked = Ascent(program, tiny_exported.weights).attack([Target(found, grey) for found in chosen])
    assert (attacked.shape, attacked.dtype) == ((2 * len(chosen), 3, 8, 8), np.uint8)
    assert np.isin(attacked[len(chosen) :], (0, 255)).all()
    run_reference(program, tiny_exported.weights, {INPUT: attacked.astype(np.int64)}, observe=watch)
    after = {(found.node, found.upper): found for found in watch.edges}
    assert chosen
    for found in chosen:
        assert after[found.node, True].value > 1.2 * before[found.node, True].value
    assert watch.outside == set()


def test_a_proven_model_passes(tiny_folder: Path) -> None:
    """Pictures of all families and attacks leave no window, and logits stay close to the float model's."""
    checker = Checker(ModelFolder.load(tiny_folder), real_model(tiny_folder), tolerance=0.1)
    said: list[str] = []
    checked = checker.check(90, 5, PHOTOGRAPHS, 0, lambda what, done, total: said.append(what))
    assert checked.ranges == "proven"
    assert checked.outside == []
    assert checked.pictures == 90 + 2 * 5
    assert set(checked.families) == {*BACKBONES, "attack"}
    assert checked.families["attack"] == 10
    assert 0 < checked.difference < 0.1
    assert checked.disagreeing == 0
    assert all(found.proven and not found.left for found in checked.edges)
    differences = [picture.difference for picture in checked.worst]
    assert differences == sorted(differences, reverse=True)
    assert {said[0], said[-1]} == {"pictures", "attacks 1 to 5 of 5"}


def test_a_range_that_is_wrongly_said_to_be_proven_is_found(tiny_folder: Path, tiny_exported: Exported) -> None:
    """A gate whose input is declared far smaller than it is has a narrow window; the check names it."""
    tampered = []
    for node in tiny_exported.program.nodes:
        kind = node.type.qtype
        if node.name == "block0.fc1":
            node = replace(node, type=replace(node.type, qtype=replace(kind, lo=kind.lo / 64, hi=kind.hi / 64)))
        tampered.append(node)
    program = replace(tiny_exported.program, nodes=tuple(tampered))
    assert program.ranges == "proven"
    model = replace(ModelFolder.load(tiny_folder), program=program)
    checked = Checker(model, real_model(tiny_folder), tolerance=0.1).check(36, 0, PHOTOGRAPHS, 0)
    assert len(checked.outside) > 0
    assert (checked.edges[0].node, checked.edges[0].left) == ("block0.act", True)
    assert checked.to_json()["first_outside"] == checked.outside[0].family


@pytest.fixture(scope="module")
def calibrated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without norms, calibrated on pictures that hardly differ."""
    config = varied(TINY, norms=((Norm.AFFINE, Norm.AFFINE),))
    model, folder = make_variant(config), tmp_path_factory.mktemp("models") / "calibrated"
    exported = export_model(model, make_images(config, 8), Precision(margin=1.01), allow_calibrated=True)
    mean, std = (0.5,) * 3, (0.25,) * 3
    description = Description(name="loose", version="1", labels=("a", "b", "c"), mean=mean, std=std)
    ModelFolder(description, exported.program, exported.weights).save(folder)
    save_model(model, folder)
    return folder


def test_a_calibrated_model_fails_and_says_where(calibrated_folder: Path, tmp_path: Path) -> None:
    """Exit status 5; the document counts what left a range and names the gates; the worst pictures are kept."""
    worst = tmp_path / "worst"
    run = CliRunner().invoke(
        app, ["model", "check", str(calibrated_folder), "--pictures", "36", "--worst", str(worst), "--json"]
    )
    assert run.exit_code == 5, run.output
    document = json.loads(run.stdout)
    assert not document["passed"]
    assert document["ranges"] == "calibrated"
    assert document["pictures"] == sum(document["families"].values()) == 36
    assert document["outside"] > 0
    assert document["first_outside"] in BACKBONES
    assert document["edges"][0]["left"]
    assert set(document["edges"][0]) == {
        *("node", "op", "upper", "value", "bound", "picture", "proven", "share", "left"),
    }
    files = sorted(worst.iterdir())
    assert len(files) == 36
    assert files[0].name.startswith("000-")
    plain = CliRunner().invoke(app, ["model", "check", str(calibrated_folder), "--pictures", "18"])
    assert plain.exit_code == 5
    assert "failed" in plain.output
    assert "the first that did" in plain.output


def test_a_proven_model_passes_on_the_command_line(tiny_folder: Path) -> None:
    """Exit status 0, nothing outside."""
    run = CliRunner().invoke(app, ["model", "check", str(tiny_folder), "--pictures", "18", "--attack", "2", "--json"])
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert document["passed"]
    assert (document["ranges"], document["outside"], document["first_outside"]) == ("proven", 0, None)
    assert document["families"]["attack"] == 4


def test_a_difference_beyond_the_tolerance_fails(tiny_folder: Path) -> None:
    """Although no range is left."""
    arguments = ["model", "check", str(tiny_folder), "--pictures", "18", "--tolerance", "1e-6", "--json"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 5
    assert json.loads(run.stdout)["outside"] == 0


def test_manifests_say_what_ranges_are(calibrated_folder: Path, tiny_folder: Path) -> None:
    """As parties tell clients."""
    for folder, ranges in ((calibrated_folder, "calibrated"), (tiny_folder, "proven")):
        assert ModelFolder.load(folder).manifest("0" * 32, "0" * 64, ("0" * 64,) * 2).ranges == ranges
