"""Configurations as documents: what is written is read, and what earlier versions wrote still is."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mpcvit import zoo
from mpcvit.compress.passes import PASSES
from mpcvit.compress.settings import pass_from_json
from mpcvit.errors import ConfigError
from mpcvit.models.block import BlockConfig, Gate, LayerRanks
from mpcvit.models.config import ViTConfig
from mpcvit.models.efficientformer import EfficientFormerConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, Norm, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.pricing.amounts import ModelAmounts
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.search.trial import Trial
from mpcvit.store.codec import from_document, plain, to_document
from mpcvit.store.trained import read_architecture
from mpcvit.train.config import TrainConfig
from mpcvit.train.recipes import RECIPES

#: Files that the version before this codec wrote.
OLD = Path(__file__).resolve().parents[2] / "vectors" / "configs_v0"

#: By the name of an old file, its class.
KINDS: dict[str, type[Any]] = {
    "vit": ViTConfig,
    "vit_plain": ViTConfig,
    "vit_oldest": ViTConfig,
    "train": TrainConfig,
    "train_preset": TrainConfig,
    "quantize": QuantizeConfig,
    "trial": Trial,
    "amounts": ModelAmounts,
}


def old(name: str) -> Any:
    """The document in an old file."""
    return json.loads((OLD / f"{name}.json").read_text())


@pytest.mark.parametrize("name", KINDS)
def test_old_documents_are_read_and_written_anew(name: str) -> None:
    """Through a file's JSON, what was read comes back equal, and with a version."""
    config = from_document(KINDS[name], old(name))
    document = json.loads(json.dumps(to_document(config)))
    assert document["version"] == 1
    assert from_document(KINDS[name], document) == config


def test_columns_of_old_models_become_blocks() -> None:
    """Every column goes to the field that it was, block by block."""
    idle = Gate(axis=GateAxis.CHANNEL, kept=(1, 3))
    shared = {
        "heads": (AttentionKind.RELU_SOFTMAX,),
        "activation": Activation.GELU,
        "hidden": 8,
        "gate": idle,
        "norms": (Norm.AFFINE, Norm.LAYERNORM),
        "ranks": LayerRanks(qkv=3, fc2=2),
    }
    config = from_document(ViTConfig, old("vit"))
    assert config.blocks == (
        BlockConfig(
            heads=(AttentionKind.SCALING, AttentionKind.SQUARE),
            activation=Activation.RELU,
            hidden=16,
            gate=Gate(axis=GateAxis.TOKEN, kept=(0, 2, 5)),
            norms=(Norm.LAYERNORM, Norm.BATCHNORM),
        ),
        BlockConfig(**shared),
        BlockConfig(**shared, shares=True),
        BlockConfig(
            heads=(AttentionKind.SOFTMAX, AttentionKind.QUAD2),
            activation=Activation.QUAD,
            hidden=11,
            ranks=LayerRanks(proj=2),
            reduction=Reduction(kind=ReductionKind.EVIT, keep=6),
        ),
    )
    assert (config.class_token, config.lepe, config.head_width, config.norm_epsilon) == (True, 2, 5, 1e-5)
    assert config.owners == (0, 1, 1, 3)


def test_the_oldest_documents_are_plain_models() -> None:
    """Before there were gates, norms and sizes per block, all had their defaults."""
    plain_model = ViTConfig.uniform(
        AttentionKind.SOFTMAX,
        Activation.GELU,
        depth=2,
        head_count=2,
        image_size=8,
        patch_size=4,
        classes=4,
        dim=16,
        hidden=24,
    )
    assert from_document(ViTConfig, old("vit_oldest")) == from_document(ViTConfig, old("vit_plain")) == plain_model


def test_old_runs_and_quantizations_are_what_they_were() -> None:
    """Recipes as they were written, the architecture of every stage included."""
    assert from_document(TrainConfig, old("train")) == RECIPES["cifar10_mpcformer_small"]()
    assert from_document(TrainConfig, old("train_preset")) == RECIPES["mpcvit_cifar10"]()
    assert from_document(QuantizeConfig, old("quantize")) == QuantizeConfig(
        method=Method.REPQ,
        bits=Bits(weight=4, activation=8),
        layers=(("blocks.1.mlp.fc1", Bits(weight=6, activation=5)), ("blocks.0.attn", Bits(weight=8, activation=7))),
        reconstruct=True,
        steps=20,
    )
    assert from_document(Trial, old("trial")).config == from_document(ViTConfig, old("vit_plain"))


def test_old_passes_are_read() -> None:
    """One of each kind, as a model's history has them."""
    steps = old("compression")
    passes = [
        pass_from_json({name: value for name, value in step.items() if name not in ("pictures", "of")})
        for step in steps
    ]
    assert {type(one) for one in passes} == set(PASSES.values())
    for one, step in zip(passes, steps, strict=True):
        written = json.loads(json.dumps(one.to_json()))  # settings that came later have their defaults
        assert written == {**written, **{name: step[name] for name in step if name not in ("pictures", "of")}}


def test_a_family_is_beside_the_fields(tmp_path: Path) -> None:
    """Of old files and of new ones; an unknown one is named."""
    (tmp_path / "config.json").write_text((OLD / "efficientformer.json").read_text())
    config = read_architecture(tmp_path)
    assert isinstance(config, EfficientFormerConfig)
    assert (config.depths, config.activation, config.value_dim) == ((1, 2), Activation.RELU, 8)
    (tmp_path / "config.json").write_text('{"family": "resnet"}')
    with pytest.raises(ConfigError, match="resnet"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("name", ["mpcvit_cifar10", "mpcvit_cifar10_half", "vit_cifar10_teacher"])
def test_shipped_models_are_read_as_they_are(name: str) -> None:
    """Their files have no version; blocks are as many as there were columns."""
    folder = zoo.folder(name)
    document = json.loads((folder / "config.json").read_text())
    assert "version" not in document
    config = read_architecture(folder)
    assert isinstance(config, ViTConfig)
    assert [list(block.heads) for block in config.blocks] == document["heads"]
    assert [block.activation for block in config.blocks] == document["activations"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"dim": "16"}, "dim '16'"),
        ({"dim": 16.5}, "dim 16.5"),
        ({"class_token": 1}, "class_token"),
        ({"blocks": []}, "blocks with"),
        ({"version": 2}, "version 2"),
        ({"version": "1"}, "version '1'"),
    ],
)
def test_what_no_version_wrote_is_refused(change: dict[str, Any], message: str) -> None:
    """Unknown fields, other types and later versions, each by its name."""
    document = to_document(from_document(ViTConfig, old("vit_plain")))
    with pytest.raises(ConfigError, match=message):
        from_document(ViTConfig, {**document, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sharing": [1, 1]}, "first one of its group"),
        ({"sharing": [0, 5]}, "first one of its group"),
        ({"heads": [["softmax", "softmax"]] * 3, "activations": ["gelu"] * 3, "sharing": [0, 0, 1]}, "first one of"),
        ({"heads": [["softmax", "softmax"]] * 3, "activations": ["gelu"] * 3, "sharing": [0, 1, 0]}, "first one of"),
        ({"hiddens": [4]}, "for 2 blocks"),
        ({"ranks": [{"qkv": 1}]}, "for 2 blocks"),
        ({"activations": ["gelu"]}, "for 2 blocks"),
        ({"heads": 3}, "ViTConfig with TypeError"),
    ],
)
def test_old_documents_that_never_were_valid_are_refused(change: dict[str, Any], message: str) -> None:
    """Columns of other lengths, and groups that are none."""
    with pytest.raises(ConfigError, match=message):
        from_document(ViTConfig, {**old("vit_plain"), **change})


def test_no_document_is_a_configuration_error() -> None:
    """Also where fields are missing."""
    with pytest.raises(ConfigError, match="KeyError"):
        from_document(ViTConfig, {"dim": 3})
    with pytest.raises(ConfigError, match="bits"):
        from_document(QuantizeConfig, {"method": "repq"})


def test_plain_documents_have_the_fields_alone() -> None:
    """Of JSON's own types."""
    config = from_document(QuantizeConfig, old("quantize"))
    assert plain(config) == old("quantize")
    assert plain(config).keys() == {field.name for field in fields(QuantizeConfig)}
    assert type(plain(config)["method"]) is str
