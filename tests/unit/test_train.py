"""The training loop on a few pictures: it learns, resumes exactly, and refuses foreign checkpoints."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from mpcvit.cli.train import train as train_command
from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError
from mpcvit.models.config import Activation, AttentionKind, Reduction, ReductionKind, ViTConfig
from mpcvit.models.files import load_model, save_model
from mpcvit.models.vit import VisionTransformer, patchify
from mpcvit.train import recorder
from mpcvit.train.accuracy import accuracy
from mpcvit.train.batches import make_batches
from mpcvit.train.checkpoint import save_checkpoint
from mpcvit.train.config import ObjectiveName, Pipeline, Precision, Start, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.optimizer import make_optimizer, make_schedule
from mpcvit.train.recipes import RECIPES
from mpcvit.train.replica import Replica
from mpcvit.train.run import begin, build_model, copy_matching, starting_from, train
from mpcvit.train.sam import ascended
from mpcvit.train.trainer import fit

CPU = torch.device("cpu")
TINY = ViTConfig(
    image_size=8,
    patch_size=4,
    classes=2,
    dim=16,
    hidden=24,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),) * 2,
    activations=(Activation.RELU,) * 2,
)
CONFIG = TrainConfig(
    model="tiny",
    architecture=TINY.to_json(),
    epochs=3,
    batch_size=16,
    validation=16,
    lr=1e-2,
    drop_path=0.1,
    pipeline=Pipeline.TENSORS,
)
EVERYTHING = replace(
    CONFIG,
    optimizer="adamw",
    mixup=0.8,
    cutmix=1.0,
    mixup_epochs=2,
    sam_rho=0.05,
    ema_decay=0.9,
    erasing=0.5,
    precision=Precision.BFLOAT16,
)


def _pictures(size: int, count: int = 96) -> ImageSet:
    """Two easy classes: dark and bright pictures."""
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 2
    pixels = rng.integers(0, 100, (count, size, size, 3)) + 150 * labels[:, None, None, None]
    return ImageSet(pixels.astype(np.uint8), labels, ("bright", "dark"))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Pictures of 8 x 8 pixels."""
    return _pictures(8)


def _train(config: TrainConfig, images: ImageSet, folder: Path, **options: Any) -> nn.Module:
    return train(config, images, folder, device="cpu", workers=0, **options)


def _equal(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_training_learns_and_writes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two epochs of a preset tell dark from bright; the folder holds model, configuration, log and checkpoint.

    Progress goes to standard error: standard output is for the result.
    """
    images = _pictures(32)
    config = TrainConfig(model="mpcvit_6_4_32", epochs=2, batch_size=16, validation=16, lr=2e-3)
    model = train(config, images, tmp_path, device="cpu", workers=0)
    assert accuracy(model, images, data_set("cifar10"), CPU) > 0.9
    assert torch.equal(load_model(tmp_path).head.weight, model.head.weight)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [0, 1]
    assert json.loads((tmp_path / "train.json").read_text())["config"] == config.to_json()
    assert list((tmp_path / "tensorboard").iterdir())
    said = capsys.readouterr()
    assert said.out == ""
    assert "validation" in said.err


def test_tensorboard_is_optional(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package there is the log alone."""
    monkeypatch.setattr(recorder, "find_spec", lambda _: None)
    _train(replace(CONFIG, epochs=1), images, tmp_path)
    assert not (tmp_path / "tensorboard").exists()
    assert (tmp_path / "log.jsonl").is_file()


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, pipeline=Pipeline.PICTURES), EVERYTHING],
    ids=["tensors", "pictures", "everything"],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    config: TrainConfig, images: ImageSet, tmp_path: Path
) -> None:
    """Stopping in the second epoch and starting again gives bit-identical weights, with every option."""

    def stop(epochs_done: int, _: nn.Module, line: Mapping[str, float]) -> None:
        if epochs_done == 2:
            raise KeyboardInterrupt

    def run(folder: Path, stop: Callable[[int, nn.Module, Mapping[str, float]], None] | None = None) -> nn.Module:
        model = build_model(config, 2)
        return fit(
            model, config, images, folder, objective=CrossEntropy(0.1), device="cpu", workers=0, after_epoch=stop
        )

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop)
    resumed = run(tmp_path / "parts")
    assert _equal(whole, resumed)
    assert all(tensor.isfinite().all() for tensor in whole.state_dict().values())
    log = [json.loads(line)["epoch"] for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert log == [0, 1, 2]


def test_a_foreign_checkpoint_is_refused(images: ImageSet, tmp_path: Path) -> None:
    """A folder of another configuration, or of other facts such as the teacher, is not continued silently."""
    config = replace(CONFIG, epochs=1)
    _train(config, images, tmp_path)
    with pytest.raises(ConfigError, match="another configuration"):
        _train(replace(config, lr=1e-3), images, tmp_path)
    with pytest.raises(ConfigError, match="another configuration"):
        _train(config, images, tmp_path, facts={"teacher": "1234"})


def test_a_checkpoint_of_before_a_field_existed_is_continued(images: ImageSet, tmp_path: Path) -> None:
    """Fields that a checkpoint does not know have their defaults."""
    model = build_model(CONFIG, 2)
    document = {name: value for name, value in CONFIG.to_json().items() if name not in ("mixup", "before", "sam_rho")}
    save_checkpoint(tmp_path, model, make_optimizer(model, CONFIG), {"config": document, "epochs_done": CONFIG.epochs})
    assert _equal(_train(CONFIG, images, tmp_path), model)


def test_objectives_see_the_bare_model_and_soft_targets_with_mixup(images: ImageSet, tmp_path: Path) -> None:
    """Mixed targets are distributions; from ``mixup_epochs`` on they are smoothed labels."""
    model = build_model(CONFIG, 2)
    seen: list[torch.Tensor] = []

    def objective(given: nn.Module, pictures: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert given is model
        seen.append(targets)
        return CrossEntropy()(given, pictures, targets)

    config = replace(CONFIG, epochs=2, mixup=1.0, mixup_epochs=1, smoothing=0.1)
    fit(model, config, images, tmp_path, objective=objective, device="cpu", workers=0)
    assert all(targets.shape == (16, 2) and torch.allclose(targets.sum(1), torch.ones(16)) for targets in seen)
    mixed, plain = torch.stack(seen[:5]), torch.stack(seen[5:])
    assert set(plain.flatten().tolist()) == {np.float32(0.05).item(), np.float32(0.95).item()}
    assert len(mixed.unique()) > 2


def test_averaged_weights_are_the_formula_and_what_is_kept(images: ImageSet, tmp_path: Path) -> None:
    """One step per epoch: w1, then 1 - 2^(-2/3) of it and the rest from w2, and so on: timm's warm-up of the decay."""
    config = replace(CONFIG, batch_size=80, ema_decay=0.999)
    steps: list[torch.Tensor] = []
    model = build_model(config, 2)
    kept = fit(
        model,
        config,
        images,
        tmp_path,
        objective=CrossEntropy(),
        device="cpu",
        workers=0,
        after_epoch=lambda _, model, line: steps.append(model.state_dict()["head.weight"].clone()),
    )
    expected = steps[0]
    for number, weights in enumerate(steps[1:], start=1):
        decay = 1 - (1 + number) ** (-2 / 3)
        expected = decay * expected + (1 - decay) * weights
    assert torch.allclose(kept.state_dict()["head.weight"], expected, atol=1e-6)
    assert torch.equal(load_model(tmp_path).head.weight, kept.state_dict()["head.weight"])


def test_sam_takes_the_gradient_uphill_and_comes_back() -> None:
    """For x^4 / 4 at x = (3, 4) the second gradient is (x + rho g / |g|)^3, and x is restored bit for bit."""
    model = nn.Linear(2, 1, bias=False)
    start = torch.tensor([[3.0, 4.0]])
    with torch.no_grad():
        model.weight.copy_(start)

    def loss() -> torch.Tensor:
        return (model.weight**4).sum() / 4

    loss().backward()
    gradient = start**3
    with ascended(model, rho=0.5):
        assert model.weight.grad is None
        loss().backward()
    assert torch.equal(model.weight.detach(), start)
    assert model.weight.grad is not None
    assert torch.allclose(model.weight.grad, (start + 0.5 * gradient / gradient.norm()) ** 3, rtol=1e-5)


def test_sam_leaves_batch_statistics_alone() -> None:
    """Running means and variances are those of the first pass, and move on afterwards."""
    model = nn.BatchNorm1d(3)
    values = torch.arange(12.0).view(4, 3)
    (model(values) ** 3).sum().backward()
    before = model.running_mean.clone()
    with ascended(model, rho=1.0):
        model(values + 5).sum().backward()
    assert torch.equal(model.running_mean, before)
    assert model.momentum == 0.1


class Searchable(nn.Module):
    """Names as a supernet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.gate = nn.Linear(4, 4)  # a layer of that name is no architecture parameter
        self.alpha = nn.Parameter(torch.ones(1, 2, 1, 1))
        self.inner = nn.Module()
        self.inner.beta = nn.Parameter(torch.ones(4, 4))
        self.pos_embed = nn.Parameter(torch.ones(3, 4))

    def no_weight_decay(self) -> set[str]:
        """As models say it."""
        return {"pos_embed"}


@pytest.mark.parametrize("optimizer", ["adamw", "nadamuon"])
def test_weight_decay_is_for_matrices_of_layers_only(optimizer: str) -> None:
    """Vectors, what the model names, and architecture parameters have none; the latter never meet Muon."""
    model = Searchable()
    made = make_optimizer(model, replace(CONFIG, optimizer=optimizer, weight_decay=0.3))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {
        names[id(parameter)]: group["weight_decay"] for group in made.param_groups for parameter in group["params"]
    }
    assert {name for name, decay in decays.items() if decay == 0.3} == {"fc.weight", "gate.weight"}
    assert {name for name, decay in decays.items() if decay == 0} == {
        "fc.bias",
        "gate.bias",
        "alpha",
        "inner.beta",
        "pos_embed",
    }
    fallback = {
        names[id(parameter)]
        for group in made.param_groups
        if group.get("use_fallback")
        for parameter in group["params"]
    }
    assert fallback == {"alpha", "inner.beta"}


@pytest.mark.parametrize("optimizer", ["adamw", "nadamuon"])
def test_selectors_learn_at_their_own_rate(optimizer: str, images: ImageSet, tmp_path: Path) -> None:
    """At a rate of 0 selectors stay and all else moves; every group's rate follows the schedule."""
    smaller = replace(TINY, reductions=(Reduction(kind=ReductionKind.SPVIT, keep=2), None))
    config = replace(CONFIG, architecture=smaller.to_json(), epochs=1, optimizer=optimizer, selector_rate=0.0)
    model = build_model(config, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, config, images, tmp_path, objective=CrossEntropy(), device="cpu", workers=0)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if ".entry." in name}

    made = make_optimizer(model, replace(config, selector_rate=0.1, warmup_epochs=0))
    make_schedule(made, replace(config, warmup_epochs=0), 5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[parameter]: group["lr"] for group in made.param_groups for parameter in group["params"]}
    assert set(rates) == set(names.values())
    for name, rate in rates.items():
        assert rate == pytest.approx(config.lr * (0.1 if ".entry." in name else 1.0))


def test_stages_follow_each_other(images: ImageSet, tmp_path: Path) -> None:
    """MPCFormer: stage 1 starts at the teacher, stage 2 where stage 1 ended; train.json names the teacher."""
    teacher = build_model(CONFIG, 2)
    save_model(teacher, tmp_path / "teacher")
    last = replace(CONFIG, epochs=1, objective=ObjectiveName.MPCFORMER_LOGITS, lr=1e-30)
    config = replace(last, before=replace(last, objective=ObjectiveName.MPCFORMER_HIDDEN, start=Start.TEACHER, seed=1))
    model = _train(config, images, tmp_path / "student", teacher=tmp_path / "teacher")
    for name, tensor in teacher.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name
    assert len(json.loads((tmp_path / "student/train.json").read_text())["facts"]["teacher"]) == 64
    assert (tmp_path / "student/before/model.safetensors").is_file()
    with pytest.raises(ConfigError, match="without a teacher"):
        _train(config, images, tmp_path / "other")


def _compressed(folder: Path, **change: Any) -> VisionTransformer:
    """A saved model of a smaller architecture."""
    torch.manual_seed(5)
    model = VisionTransformer(replace(TINY, **change))
    save_model(model, folder)
    return model


def test_a_compressed_model_is_fine_tuned(images: ImageSet, tmp_path: Path) -> None:
    """A run begins at the given architecture and weights, in every stage, with distillation from the original."""
    teacher = build_model(CONFIG, 2)
    save_model(teacher, tmp_path / "teacher")
    start = _compressed(tmp_path / "start", head_width=8, heads=(TINY.heads[0], TINY.heads[0][:1]), sharing=())
    still = replace(CONFIG, epochs=1, objective=ObjectiveName.DISTILLATION, lr=1e-30, drop_path=0.0)
    config = replace(still, before=replace(still, objective=ObjectiveName.MPCFORMER_HIDDEN), start=Start.TEACHER)
    options = {"teacher": tmp_path / "teacher", "start_from": tmp_path / "start"}
    model = _train(config, images, tmp_path / "out", **options)
    assert model.config == start.config == load_model(tmp_path / "out/before").config
    for name, tensor in start.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name
    facts = json.loads((tmp_path / "out/train.json").read_text())["facts"]
    assert len(facts["start"]) == len(facts["teacher"]) == 64
    assert facts["start"] != facts["teacher"]
    _train(config, images, tmp_path / "out", **options)  # continued, that is finished
    _compressed(tmp_path / "start", heads=TINY.heads, lepe=2)
    with pytest.raises(ConfigError, match="another configuration"):
        _train(config, images, tmp_path / "out", **options)


def test_tokens_are_compared_where_they_can_be(images: ImageSet, tmp_path: Path) -> None:
    """Other tokens than the teacher's leave the answers to learn from; equal ones keep their weight."""
    teacher = build_model(CONFIG, 2)
    for change, weight in (({"hidden": 8}, 0.5), ({"class_token": True}, 0.0), ({"dim": 8}, 0.0)):
        model = VisionTransformer(replace(TINY, **change))
        config = starting_from(model, replace(CONFIG, token_weight=0.5), teacher)
        assert config.token_weight == weight
        assert ViTConfig.from_json(config.architecture) == model.config
    save_model(teacher, tmp_path / "teacher")
    _compressed(tmp_path / "start", class_token=True)
    config = replace(CONFIG, epochs=1, objective=ObjectiveName.DISTILLATION)
    options = {"teacher": tmp_path / "teacher", "start_from": tmp_path / "start"}
    assert _train(config, images, tmp_path / "out", **options).config.class_token


def test_an_architecture_of_before_a_field_existed_is_continued(images: ImageSet, tmp_path: Path) -> None:
    """Also in the stage that comes first, young fields of an architecture have their defaults."""
    config = replace(CONFIG, before=CONFIG)
    model = build_model(config, 2)
    document = config.to_json()
    for part in (document, document["before"]):
        for name in ("sharing", "ranks", "hiddens", "head_width"):
            del part["architecture"][name]
    save_checkpoint(tmp_path, model, make_optimizer(model, config), {"config": document, "epochs_done": config.epochs})
    fitted = fit(build_model(config, 2), config, images, tmp_path, objective=CrossEntropy(), device="cpu", workers=0)
    assert _equal(fitted, model)


def test_weights_are_copied_where_they_fit() -> None:
    """Another number of classes leaves the head alone."""
    teacher, student = (
        build_model(CONFIG, 2),
        build_model(replace(CONFIG, architecture=replace(TINY, classes=3).to_json(), seed=1), 3),
    )
    head = student.head.weight.clone()
    names = copy_matching(teacher, student)
    assert torch.equal(student.patch_embed.weight, teacher.patch_embed.weight)
    assert torch.equal(student.head.weight, head)
    assert {"head.weight", "head.bias"} == set(student.state_dict()) - set(names)


def test_quads_begin_as_the_fit_to_the_teachers_activation(images: ImageSet) -> None:
    """Where the teacher has another one: least squares on what its MLP reads, on pictures that are not held out.

    No random number is drawn, and a quad that the teacher has, too, is copied.
    """
    had = replace(TINY, activations=(Activation.GELU, Activation.QUAD))
    config = replace(CONFIG, start=Start.TEACHER, drop_path=0.0)
    teacher = build_model(replace(config, architecture=had.to_json(), seed=1), 2)
    with torch.no_grad():
        teacher.blocks[0].mlp.fc1.weight.mul_(20)  # values at which GELU bends
        teacher.blocks[1].mlp.act.coefficients.copy_(torch.tensor([1.0, 2.0, 3.0]))
    quads = replace(TINY, activations=(Activation.QUAD,) * 2)
    students = []
    for seed in (2, 3):
        student = build_model(replace(config, architecture=quads.to_json(), seed=seed), 2)
        before = torch.random.get_rng_state()
        begin(student, config, teacher, images)
        assert torch.equal(torch.random.get_rng_state(), before)
        students.append(student)
    assert _equal(*students)
    first, second = (block.mlp.act.coefficients for block in students[0].blocks)
    assert second.tolist() == [1.0, 2.0, 3.0]
    held_out = replace(config, validation=80)  # so that the 16 pictures that are left are all looked at
    begin(students[1], held_out, teacher, images)
    for pictures, coefficients in (
        (images.split(16, 0)[0].spread(64), first),
        (images.split(80, 0)[0], students[1].blocks[0].mlp.act.coefficients),
    ):
        data = data_set("cifar10")
        block = teacher.blocks[0]
        x = teacher.patch_embed(patchify(normalise(pictures.images, data.mean, data.std), 4)) + teacher.pos_embed
        read = block.mlp.fc1(block.norm2(x + block.attn(block.norm1(x)))).detach().double().numpy().ravel()
        gelu = torch.nn.functional.gelu(torch.from_numpy(read)).numpy()
        expected = np.polynomial.polynomial.polyfit(read, gelu, 2)
        assert np.allclose(coefficients.detach().numpy(), expected, atol=1e-4)


def test_impossible_configurations_are_refused(images: ImageSet) -> None:
    """Each says what to correct."""
    with pytest.raises(ConfigError, match="no auto_augment"):
        replace(CONFIG, auto_augment="rand-m9")
    with pytest.raises(ConfigError, match="even batches"):
        replace(CONFIG, mixup=0.5, batch_size=15)
    with pytest.raises(ConfigError, match="at least one epoch"):
        replace(CONFIG, epochs=0)
    with pytest.raises(ConfigError, match="numbers from 0"):
        replace(CONFIG, selector_rate=-0.1)
    with pytest.raises(ConfigError, match="0 to 1"):
        replace(CONFIG, crop_scale=1.5)
    with pytest.raises(ConfigError, match="full batches"):
        make_batches(replace(CONFIG, batch_size=128), images, Replica(CPU), 0)
    with pytest.raises(ConfigError, match="equal numbers of classes"):
        build_model(CONFIG, 10)
    with pytest.raises(ConfigError, match="a preset"):
        build_model(TrainConfig(model="no_such_model", epochs=1), 10)
    with pytest.raises(ConfigError, match="one of cifar10, cifar100, tinyimagenet"):
        data_set("mnist")


def test_a_shortened_run_keeps_its_proportions() -> None:
    """Warm-up and mixing shrink with the epochs; the cooldown goes; never longer than before."""
    config = RECIPES["mpcvit_cifar10_teacher"]()
    short = config.shortened(30)
    assert (short.epochs, short.total_epochs, short.warmup_epochs, short.mixup_epochs) == (30, 30, 1, 18)
    assert config.shortened(1000) == config


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_builds_its_model(name: str) -> None:
    """Recipes build for their data set; docstrings begin with a sentence, and promise something or say not measured."""
    recipe = RECIPES[name]
    config = recipe()
    data = data_set(config.data)
    model = build_model(config, data.classes)
    assert model.config.image_size == data.image_size
    assert (recipe.__doc__ or "").partition("\n")[0].endswith(".")
    promise = " ".join((recipe.__doc__ or "").split())
    assert "Expect 8" in promise or "not measured yet" in promise


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Both ranks of a gloo group begin and end with the same finite weights, though each has only half of a batch."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    script = Path(__file__).with_name("train_replica.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**common, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, said = rank.communicate(timeout=120)
            assert rank.returncode == 0, said
    finally:
        for rank in ranks:
            rank.kill()
    for moment in ("begun", "rank"):
        first, second = (load_file(tmp_path / f"{moment}{rank}.safetensors") for rank in range(2))
        assert all(tensor.isfinite().all() for tensor in first.values())
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2  # one writer


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
    config = replace(
        CONFIG, architecture=architecture.to_json(), validation=8, objective=ObjectiveName.DISTILLATION, epochs=30
    )
    monkeypatch.setitem(RECIPES, "tiny", lambda: config)
    monkeypatch.setitem(RECIPES, "tiny100", lambda: replace(config, data="cifar100"))
    command = partial(train_command, data=tmp_path / "data", device="cpu", workers=0, epochs=1, json_output=True)
    command("tiny", out=tmp_path / "out", teacher=tmp_path / "teacher")
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    assert json.loads((tmp_path / "out/train.json").read_text())["facts"]["shortened_from"] == 30
    with pytest.raises(typer.Exit):
        command("tiny100", out=tmp_path / "other", teacher=tmp_path / "teacher")
    assert "100 classes" in json.loads(capsys.readouterr().out)["error"]["expected"]


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
