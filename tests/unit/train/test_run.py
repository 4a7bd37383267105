"""Runs in stages, what they begin with, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from mpcvit.cli.train import train as train_command
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.codec import to_document
from mpcvit.store.trained import load_model, save_model
from mpcvit.train.checkpoint import save_checkpoint
from mpcvit.train.config import ObjectiveName, Start
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.optimizer import make_optimizer
from mpcvit.train.recipes import RECIPES
from mpcvit.train.run import build_model, copy_matching, starting_from
from mpcvit.train.trainer import fit
from tests.support.columns import column, varied
from tests.support.training import CONFIG, TINY, same_weights, train_on_cpu


def test_stages_follow_each_other(images: ImageSet, tmp_path: Path) -> None:
    """MPCFormer: stage 1 starts at the teacher, stage 2 where stage 1 ended; train.json names the teacher."""
    teacher = build_model(CONFIG, 2)
    save_model(teacher, tmp_path / "teacher")
    last = replace(CONFIG, epochs=1, objective=ObjectiveName.MPCFORMER_LOGITS, lr=1e-30)
    config = replace(last, before=replace(last, objective=ObjectiveName.MPCFORMER_HIDDEN, start=Start.TEACHER, seed=1))
    model = train_on_cpu(config, images, tmp_path / "student", teacher=tmp_path / "teacher")
    for name, tensor in teacher.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name
    assert len(json.loads((tmp_path / "student/train.json").read_text())["facts"]["teacher"]) == 64
    assert (tmp_path / "student/before/model.safetensors").is_file()
    with pytest.raises(ConfigError, match="without a teacher"):
        train_on_cpu(config, images, tmp_path / "other")


def _compressed(folder: Path, **change: Any) -> VisionTransformer:
    """A saved model of a smaller architecture."""
    torch.manual_seed(5)
    model = VisionTransformer(varied(TINY, **change))
    save_model(model, folder)
    return model


def test_a_compressed_model_is_fine_tuned(images: ImageSet, tmp_path: Path) -> None:
    """A run begins at the given architecture and weights, in every stage, with distillation from the original."""
    teacher = build_model(CONFIG, 2)
    save_model(teacher, tmp_path / "teacher")
    start = _compressed(
        tmp_path / "start", head_width=8, heads=(column(TINY, "heads")[0], column(TINY, "heads")[0][:1])
    )
    still = replace(CONFIG, epochs=1, objective=ObjectiveName.DISTILLATION, lr=1e-30, drop_path=0.0)
    config = replace(still, before=replace(still, objective=ObjectiveName.MPCFORMER_HIDDEN), start=Start.TEACHER)
    options = {"teacher": tmp_path / "teacher", "start_from": tmp_path / "start"}
    model = train_on_cpu(config, images, tmp_path / "out", **options)
    assert model.config == start.config == load_model(tmp_path / "out/before").config
    for name, tensor in start.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name
    facts = json.loads((tmp_path / "out/train.json").read_text())["facts"]
    assert len(facts["start"]) == len(facts["teacher"]) == 64
    assert facts["start"] != facts["teacher"]
    train_on_cpu(config, images, tmp_path / "out", **options)  # continued, that is finished
    _compressed(tmp_path / "start", heads=column(TINY, "heads"), lepe=2)
    with pytest.raises(ConfigError, match="another configuration"):
        train_on_cpu(config, images, tmp_path / "out", **options)


def test_tokens_are_compared_where_they_can_be(images: ImageSet, tmp_path: Path) -> None:
    """Other tokens than the teacher's leave the answers to learn from; equal ones keep their weight."""
    teacher = build_model(CONFIG, 2)
    for change, weight in (({"hidden": 8}, 0.5), ({"class_token": True}, 0.0), ({"dim": 8}, 0.0)):
        model = VisionTransformer(varied(TINY, **change))
        config = starting_from(model, replace(CONFIG, token_weight=0.5), teacher)
        assert config.token_weight == weight
        assert config.architecture == model.config
    save_model(teacher, tmp_path / "teacher")
    _compressed(tmp_path / "start", class_token=True)
    config = replace(CONFIG, epochs=1, objective=ObjectiveName.DISTILLATION)
    options = {"teacher": tmp_path / "teacher", "start_from": tmp_path / "start"}
    assert train_on_cpu(config, images, tmp_path / "out", **options).config.class_token


def test_an_architecture_of_before_a_field_existed_is_continued(images: ImageSet, tmp_path: Path) -> None:
    """Also in the stage that comes first, a document of before there were versions is the same architecture."""
    config = replace(CONFIG, before=CONFIG)
    model = build_model(config, 2)
    document = to_document(config)
    del document["version"]
    for part in (document, document["before"]):
        blocks = part["architecture"].pop("blocks")
        for name in ("head_width", "norm_epsilon"):
            del part["architecture"][name]
        part["architecture"] |= {
            "hidden": 24,
            "heads": [block["heads"] for block in blocks],
            "activations": [block["activation"] for block in blocks],
        }
    save_checkpoint(tmp_path, model, make_optimizer(model, config), {"config": document, "epochs_done": config.epochs})
    fitted = fit(build_model(config, 2), config, images, tmp_path, objective=CrossEntropy(), device="cpu", workers=0)
    assert same_weights(fitted, model)


def test_weights_are_copied_where_they_fit() -> None:
    """Another number of classes leaves the head alone."""
    teacher, student = (
        build_model(CONFIG, 2),
        build_model(replace(CONFIG, architecture=replace(TINY, classes=3), seed=1), 3),
    )
    head = student.head.weight.clone()
    names = copy_matching(teacher, student)
    assert torch.equal(student.patch_embed.weight, teacher.patch_embed.weight)
    assert torch.equal(student.head.weight, head)
    assert {"head.weight", "head.bias"} == set(student.state_dict()) - set(names)


def test_the_command_trains_a_shortened_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The teacher is passed on, and train.json says that the run was shortened; a wrong data set is refused."""
    rng = np.random.default_rng(0)
    for label in range(10):
        (tmp_path / "data/train" / str(label)).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data/train" / str(label) / f"{number}.png")
    architecture = replace(TINY, image_size=32, classes=10)
    save_model(VisionTransformer(architecture), tmp_path / "teacher")
    config = replace(CONFIG, architecture=architecture, validation=8, objective=ObjectiveName.DISTILLATION, epochs=30)
    monkeypatch.setitem(RECIPES, "tiny", lambda: config)
    monkeypatch.setitem(RECIPES, "tiny100", lambda: replace(config, data="cifar100"))
    command = partial(train_command, data=tmp_path / "data", device="cpu", workers=0, epochs=1, json_output=True)
    command("tiny", out=tmp_path / "out", teacher=tmp_path / "teacher")
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    assert json.loads((tmp_path / "out/train.json").read_text())["facts"]["shortened_from"] == 30
    overridden = tmp_path / "run.yaml"
    overridden.write_text("token_hooks:\n  - kind: registers\n    count: 2\n")
    command("tiny", out=tmp_path / "registers", teacher=tmp_path / "teacher", config_file=overridden)
    assert load_model(tmp_path / "registers").config == replace(architecture, registers=2)
    capsys.readouterr()
    started = {"out": tmp_path / "other", "start_from": tmp_path / "teacher", "teacher": tmp_path / "teacher"}
    for wrong, what in (({"settings": ["architecture.gmm=1"], **started}, "an architecture, and a model"), ({}, "no")):
        with pytest.raises(typer.Exit):
            command("tiny" if wrong else None, **{"out": tmp_path / "other", **wrong})
        assert what in json.loads(capsys.readouterr().out)["error"]["got"]
    with pytest.raises(typer.Exit):
        command("tiny100", out=tmp_path / "other", teacher=tmp_path / "teacher")
    assert "100 classes" in json.loads(capsys.readouterr().out)["error"]["expected"]


@pytest.mark.slow
def test_training_needs_no_serving_packages() -> None:
    """The command runs where grpc, crypten and tensorboard are not installed."""
    script = """
import runpy, sys
for name in ("crypten", "grpc", "google", "pydantic_settings", "cryptography", "tensorboard"):
    sys.modules[name] = None  # importing it fails
sys.argv = ["train", "no_such_recipe", "--data", "x", "--out", "x", "--json"]
import mpcvit.train.run
runpy.run_module("mpcvit.cli.train", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert "no_such_recipe" in json.loads(done.stdout)["error"]["got"], done.stderr
