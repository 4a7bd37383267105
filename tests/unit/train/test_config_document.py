"""Configurations from recipe, file and settings: what they say, and what is said of mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from mpcvit.models.kinds import AttentionKind
from mpcvit.store.codec import to_document
from mpcvit.train.config import ObjectiveName, Pipeline, TrainConfig
from mpcvit.train.config_document import read_config
from mpcvit.train.objectives.make import make_objective
from mpcvit.train.recipes import RECIPES
from mpcvit.train.run import build_model, take_over
from mpcvit.train.token_hooks import Denoiser, Registers
from mpcvit.train.weight_hooks import ExpertAveraging
from tests.support.training import CONFIG


def _file(folder: Path, text: str) -> Path:
    (folder / "run.yaml").write_text(text)
    return folder / "run.yaml"


def test_settings_are_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    """Numbers may be written as 1e-3; what nobody names stays the recipe's."""
    recipe = RECIPES["cifar10_mpcvit_small"]()
    file = _file(tmp_path, "lr: 1e-3\nepochs: 7\nmixup: 0.5\n")
    config = read_config(recipe, file, ["epochs=9", "sam_rho=0.05", "pipeline=pictures"])
    assert config == replace(recipe, lr=1e-3, epochs=9, mixup=0.5, sam_rho=0.05, pipeline=Pipeline.PICTURES)


def test_a_file_alone_says_everything(tmp_path: Path) -> None:
    """JSON too; the document of a configuration, which train.json holds, reads back as the same."""
    assert read_config(None, _file(tmp_path, "model: mpcvit_6_4_32\nepochs: 2\n"), []) == TrainConfig(
        model="mpcvit_6_4_32", epochs=2
    )
    config = replace(
        CONFIG,
        token_hooks=(Registers(count=2), Denoiser(heads=(AttentionKind.SOFTMAX,) * 2)),
        weight_hooks=(ExpertAveraging(experts=3),),
        objective=ObjectiveName.SELF_DISTILLATION,
        before=CONFIG,
    )
    assert read_config(None, _file(tmp_path, json.dumps(to_document(config), indent=1)), []) == config


def test_options_of_heads_have_a_path_from_the_command_line() -> None:
    """GMM masks, linear ReLU heads and pooled keys, in a recipe's architecture or a preset's; stars are all blocks."""
    recipe = RECIPES["cifar10_mpcvit_small"]()
    config = read_config(recipe, None, ["architecture.blocks.*.heads=[pooled_kv, linear_relu, softmax, scaling]"])
    assert config.architecture is not None
    kinds = (AttentionKind.POOLED_KV, AttentionKind.LINEAR_RELU, AttentionKind.SOFTMAX, AttentionKind.SCALING)
    assert {block.heads for block in config.architecture.blocks} == {kinds}
    config = read_config(recipe, None, ["architecture.gmm=3", "architecture.blocks.5.activation=relu"])
    assert config.architecture is not None
    assert (config.architecture.gmm, config.architecture.blocks[5].activation) == (3, "relu")
    preset = read_config(RECIPES["mpcvit_cifar10"](), None, ["architecture.gmm=2"]).architecture
    assert preset is not None
    assert (preset.gmm, preset.dim, preset.classes) == (2, 256, 10)


def test_a_file_may_change_a_part_of_the_architecture(tmp_path: Path) -> None:
    """Sections are merged; of the preset, where the recipe has none."""
    file = _file(tmp_path, "architecture:\n  registers: 2\n")
    for name in ("cifar10_mpcvit_small", "mpcvit_cifar100"):
        architecture = read_config(RECIPES[name](), file, []).architecture
        assert architecture is not None
        assert architecture.registers == 2


def test_lists_grow_by_settings() -> None:
    """The number behind the last one appends."""
    settings = ["token_hooks.0.kind=registers", "token_hooks.0.count=3", "token_hooks.1.kind=denoiser"]
    config = read_config(CONFIG, None, [*settings, "weight_hooks.0.kind=ewa", "trained=['head.*', registers]"])
    assert config.token_hooks == (Registers(count=3), Denoiser())
    assert config.weight_hooks == (ExpertAveraging(),)
    assert config.trained == ("head.*", "registers")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("learning_rate: 1\nlr: fast\n", [], r"run.yaml:2: lr: Input should be a valid number"),
        ("mixpu: 1\n", [], r"run.yaml:1: mixpu: is no field here; did you mean 'mixup'\?"),
        ("architecture:\n  gm: 1\n", [], r"run.yaml:2: architecture.gm: is no field here; did you mean 'gmm'\?"),
        ("", ["sam_roh=0.1"], r"--set sam_roh=0.1: sam_roh: is no field here; did you mean 'sam_rho'\?"),
        ("", ["architecure.gmm=1"], r"--set architecure.gmm=1: architecure: .* did you mean 'architecture'\?"),
        ("", ["objective=mae"], r"--set objective=mae: objective: Input should be 'cross_entropy', .*'reconstruction'"),
        ("token_hooks: [{kind: register}]\n", [], r"run.yaml:1: token_hooks.0: .*'registers'"),
        (
            "",
            ["token_hooks.0.kind=registers", "token_hooks.0.cuont=3"],
            r"--set token_hooks.0.cuont=3: token_hooks.0.cuont: is no field here; did you mean 'count'\?",
        ),
        ("", ["architecture.blocks.7.activation=relu"], "'7' in a list of 2"),
        ("", ["lr.x=1"], "inside of what has no parts"),
        ("", ["lr"], "FIELD=VALUE"),
        ("", ["lr=[1"], "FIELD=VALUE"),
        ("", ["token_hooks=[{kind: registers, count: 0}]"], "0 registers"),
        ("- 1\n", [], "a YAML mapping"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, settings: list[str], message: str) -> None:
    """File and line, or the setting; the field; what it may be, or which one was meant."""
    with pytest.raises(ConfigError, match=message):
        read_config(CONFIG, _file(tmp_path, text), settings)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A file that says too little by itself."""
    with pytest.raises(ConfigError, match="epochs: is missing"):
        read_config(None, _file(tmp_path, "model: mpcvit_6_4_32\n"), [])


def test_the_example_of_the_documentation_is_a_configuration(tmp_path: Path) -> None:
    """What docs/training.md shows can be read, and its second stage takes the first one's weights."""
    page = (Path(__file__).parents[3] / "docs/training.md").read_text()
    config = read_config(None, _file(tmp_path, page.split("```yaml\n")[1].split("```")[0]), [])
    assert config.before is not None
    assert (config.before.objective, config.token_hooks) == (ObjectiveName.RECONSTRUCTION, (Registers(),))
    first = build_model(config.before, 10)
    take_over(first, build_model(config, 10))
    make_objective(config.before, first.config, None)
