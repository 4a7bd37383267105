"""Blocks of different sizes, layers of low rank, shared weights: configuration, model, files, export."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.compat import prepare_torchvision
from mpcvit.engines.masked.cost import PlanCost, fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import ConfigError
from mpcvit.export.factors import Factors
from mpcvit.export.fold import fold
from mpcvit.export.vit import export_vit
from mpcvit.models.block import LayerRanks
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind, ReductionKind
from mpcvit.models.low_rank import LowRank
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops import Linear
from mpcvit.program.program import Program
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import load_model, save_model
from mpcvit.train.checkpoint import load_checkpoint, save_checkpoint
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, BATCH, LAYER, QUICK, channels, make_variant
from tests.support.models import make_model
from tests.support.structure_variants import IDENTITY, RELU, RS, SC, SQ, STRUCTURES

prepare_torchvision()

from timm.utils import ModelEmaV3  # noqa: E402


@pytest.mark.parametrize("name", STRUCTURES)
def test_configurations_round_trip_through_json(name: str) -> None:
    """What is written is read back, and its model has the sizes that it says."""
    config = STRUCTURES[name]
    assert from_document(ViTConfig, json.loads(json.dumps(to_document(config)))) == config
    model = VisionTransformer(config)
    for number, block in enumerate(model.blocks):
        assert (
            block.attn.proj.in_features
            == 3 * block.attn.qkv.out_features / 9
            == config.blocks[number].inner(config.head_dim)
        )
        assert block.mlp.fc1.out_features == block.mlp.fc2.in_features == column(config, "hidden")[number]


def test_documents_without_ranks_and_sharing_are_models_of_ordinary_blocks() -> None:
    """What is left out has its default."""
    document = to_document(BASE)
    del document["head_width"]
    for block in document["blocks"]:
        del block["ranks"], block["shares"]
    assert from_document(ViTConfig, document) == BASE
    assert BASE.head_dim * BASE.head_count == BASE.blocks[0].inner(BASE.head_dim) == BASE.dim
    assert column(BASE, "hidden") == (BASE.blocks[0].hidden,) * 2


def test_columns_of_other_lengths_or_unknown_fields_are_refused() -> None:
    """One value per block, of a field that blocks have."""
    for wrong in ({"hidden": (4,)}, {"ranks": (LayerRanks(),) * 3}, {"hiddens": (4, 4)}):
        with pytest.raises(ConfigError, match="for 2 blocks"):
            BASE.with_blocks(**wrong)


POOL = Reduction(kind=ReductionKind.WINDOW_POOL, keep=4)
WRONG = {
    "heads without width": ({"heads": ((SC,), (SC, SC))}, "head_width"),
    "a block without heads": ({"heads": ((SC,), ()), "head_width": 4}, "at least one"),
    "negative width": ({"head_width": -1}, "head_width -1"),
    "no hidden": ({"hidden": (4, 0)}, "positive widths"),
    "gate beyond its block": ({"hidden": (4, 16), "gate": (channels(4), None)}, "below 4"),
    "rank above full": ({"ranks": (LayerRanks(), LayerRanks(fc1=13))}, "rank 13 of fc1 in block 1"),
    "rank above a narrow block": ({"hidden": (16, 5), "ranks": (LayerRanks(), LayerRanks(fc2=6))}, "1 to 5"),
    "negative rank": ({"ranks": (LayerRanks(qkv=-1), LayerRanks())}, "rank -1"),
    "a first block that shares": ({"shares": (True, False)}, "first block that uses"),
    "different heads": ({"owners": (0, 0), "heads": ((SC, SQ), (SC, SC))}, "different blocks 0 and 1"),
    "different hiddens": ({"owners": (0, 0), "hidden": (4, 5)}, "different blocks"),
    "different ranks": ({"owners": (0, 0), "ranks": (LayerRanks(qkv=3), LayerRanks())}, "different blocks"),
    "different activations": ({"owners": (0, 0), "activation": (RELU, IDENTITY)}, "different blocks"),
    "different channels": ({"owners": (0, 0), "gate": (channels(1), None)}, "different blocks"),
    "batch statistics": ({"owners": (0, 0), "norms": ((LAYER, BATCH),) * 2}, "batch norms"),
    "learnt scales": ({"owners": (0, 0), "heads": ((AttentionKind.QUAD2,) * 2,) * 2}, "2quad"),
    "other tokens": (
        {"owners": (0, 0), "heads": ((SQ, SC),) * 2, "reduction": (None, POOL), "image_size": 16},
        "square heads equally many tokens",
    ),
    "lepe": ({"head_width": 4, "heads": ((SC, SC), (SC,)), "lepe": 6}, "equally many channels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused(name: str) -> None:
    """Each message names the block or the number that is wrong."""
    change, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        varied(BASE, **change)


def test_a_head_width_of_its_own_changes_nothing_by_itself() -> None:
    """Where it is what it would be anyway, the model is the same."""
    model, images = make_model(BASE), make_images(BASE, 2)
    wide = VisionTransformer(replace(BASE, head_width=BASE.head_dim)).eval()
    wide.load_state_dict(model.state_dict())
    assert torch.equal(wide(images), model(images))


def test_fewer_heads_and_channels_are_zeroed_ones() -> None:
    """A model without a head and some channels is the larger one in which nothing reads them."""
    config = varied(BASE, heads=((SC, SQ), (SQ, SQ)), lepe=2)
    large, images = make_model(config), make_images(config, 2)
    small = VisionTransformer(varied(config, head_width=6, heads=((SC, SQ), (SQ,)), hidden=(16, 9))).eval()
    state = large.state_dict()
    attention, mlp = "blocks.1.attn", "blocks.1.mlp"
    rows = torch.cat([torch.arange(6, 12) + 12 * part for part in range(3)])  # of the second head
    for name, index in {f"{attention}.qkv.weight": rows, f"{attention}.qkv.bias": rows}.items():
        state[name] = state[name][index]
    state[f"{attention}.proj.weight"] = state[f"{attention}.proj.weight"][:, 6:]
    state[f"{attention}.lepe.weight"] = state[f"{attention}.lepe.weight"][1:]
    state |= {f"{mlp}.fc1.{leaf}": state[f"{mlp}.fc1.{leaf}"][:9] for leaf in ("weight", "bias")}
    state[f"{mlp}.fc2.weight"] = state[f"{mlp}.fc2.weight"][:, :9]
    small.load_state_dict(state)
    with torch.no_grad():
        large.blocks[1].attn.proj.weight[:, :6] = 0
        large.blocks[1].mlp.fc2.weight[:, 9:] = 0
        assert torch.allclose(small(images), large(images), atol=1e-5)


def test_low_rank_layers_are_products() -> None:
    """Two matrices in a row, one bias; every layer of a configuration has the rank that it says."""
    layer, x = LowRank(7, 5, 2), torch.randn(3, 7)
    expected = x @ (layer.up.weight @ layer.down.weight).T + layer.up.bias
    assert torch.allclose(layer(x), expected, atol=1e-6)
    block = VisionTransformer(STRUCTURES["ranks"]).blocks[1]
    assert [block.attn.proj.down.out_features, block.mlp.fc2.up.in_features] == [2, 7]
    assert isinstance(block.attn.qkv, torch.nn.Linear)
    assert isinstance(block.mlp.fc1, torch.nn.Linear)


@pytest.mark.parametrize("name", ["sharing", "sharing-gated", "everything"])
def test_shared_models_are_unshared_ones_with_equal_weights(name: str) -> None:
    """Biases, norm biases and convolutions stay each block's own."""
    config = STRUCTURES[name]
    shared, images = make_variant(config), make_images(config, 2)
    plain = VisionTransformer(varied(config, owners=())).eval()
    state = dict(shared.named_parameters(remove_duplicate=False))
    plain.load_state_dict(state)
    assert torch.equal(plain(images), shared(images))
    own = {"attn.qkv.bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias", "norm1.bias", "norm2.bias"}
    first, last = (dict(shared.blocks[number].named_parameters()) for number in (1 if "-" in name else 0, 1))
    if name == "sharing":
        assert {part for part in first if first[part] is not last[part]} == own | {"attn.lepe.weight"}


def test_shared_weights_are_one_parameter() -> None:
    """Optimisers, state, files, checkpoints, copies and averages see a shared parameter once."""
    config = STRUCTURES["sharing"]
    model, images = make_variant(config).train(), make_images(config, 4)
    state, names = model.state_dict(), [name for name, _ in model.named_parameters()]
    assert set(state) == set(names) | set(dict(model.named_buffers(remove_duplicate=True))) & set(state)
    assert "blocks.1.attn.qkv.weight" not in state
    assert "blocks.2.attn.qkv.weight" in state
    unshared = VisionTransformer(varied(config, owners=()))
    saved = sum(tensor.numel() for tensor in unshared.parameters()) - sum(t.numel() for t in model.parameters())
    matrices = 12 * 36 + 12 * 12 + 2 * 12 * 16
    assert saved == matrices + 2 * 12 + 3  # gains of two norms, and the quadratic's coefficients
    copied = copy.deepcopy(model)
    assert copied.blocks[1].attn.qkv.weight is copied.blocks[0].attn.qkv.weight
    assert copied.blocks[1].attn.qkv.weight is not model.blocks[0].attn.qkv.weight
    model(images).square().mean().backward()
    copied.load_state_dict({name: value + 1 for name, value in state.items()})
    assert torch.equal(copied.blocks[1].attn.qkv.weight, model.blocks[1].attn.qkv.weight + 1)
    average = ModelEmaV3(model, decay=0.75)
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight.add_(4.0)
    average.update(model)
    before = state["blocks.0.mlp.fc1.weight"] - 4  # of the state, which follows the parameter
    assert torch.allclose(average.module.blocks[1].mlp.fc1.weight, before + 1, atol=1e-5)


def test_gradients_of_a_group_add_up() -> None:
    """A shared matrix gets the sum of what its uses would get."""
    config = varied(BASE, owners=(0, 0))
    shared, images = make_model(config).train(), make_images(config, 2)
    plain = VisionTransformer(BASE).train()
    plain.load_state_dict(dict(shared.named_parameters(remove_duplicate=False)))
    for model in (shared, plain):
        model(images).square().mean().backward()
    for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        parts = [plain.blocks[number].get_submodule(layer).weight.grad for number in (0, 1)]
        assert torch.allclose(shared.blocks[0].get_submodule(layer).weight.grad, parts[0] + parts[1], atol=1e-5)


@pytest.mark.parametrize("name", STRUCTURES)
def test_files_and_checkpoints_round_trip(name: str, tmp_path: Path) -> None:
    """A saved model and a checkpoint give the same model back; no weight is in a file twice."""
    config = STRUCTURES[name]
    model, images = make_variant(config), make_images(config, 2)
    save_model(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {key for key in stored if "running" not in key and "num_batches" not in key} == {
        key for key, _ in model.named_parameters()
    }
    assert torch.equal(load_model(tmp_path)(images), model(images))
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path, model, optimizer, {})
    again = VisionTransformer(config).eval()
    load_checkpoint(tmp_path, again, torch.optim.AdamW(again.parameters()))
    assert torch.equal(again(images), model(images))


def _program(model: VisionTransformer, factors: Factors = Factors.MERGED) -> Program:
    return export_vit(model, make_images(model.config, 16), QUICK, factors=factors).program


def _cost(program: Program) -> PlanCost:
    return fast_cost(make_plan(program, DEFAULT_OBJECTIVE))


def test_a_group_is_one_secret_parameter() -> None:
    """Every matrix of a group is a parameter that several products read; it is opened once, biases are not shared."""
    model = make_variant(STRUCTURES["sharing"])
    unshared = VisionTransformer(varied(model.config, owners=()))
    unshared.load_state_dict(dict(model.named_parameters(remove_duplicate=False)))
    shared, plain = _program(model), _program(unshared)
    readers: dict[str, list[str]] = {}
    for node in shared.nodes:
        if isinstance(node.op, Linear):
            readers.setdefault(node.inputs[1], []).append(node.name)
    several = {name: nodes for name, nodes in readers.items() if len(nodes) > 1}
    assert sorted(several) == [
        "block0.attn.norm_qkv.matmul.weight",
        "block0.attn.proj.matmul.weight",
        "block0.fc2.matmul.weight",
        "block0.norm_fc1.matmul.weight",
    ]
    assert several["block0.fc2.matmul.weight"] == ["block0.fc2.matmul", "block1.fc2.matmul"]
    matrices = 12 * 36 + 12 * 12 + 2 * 12 * 16
    assert _cost(plain).weight_bytes - _cost(shared).weight_bytes == 8 * matrices
    assert _cost(plain).total == _cost(shared).total


def test_the_command_takes_factors_by_name(tmp_path: Path) -> None:
    """Another name is refused before anything is read."""
    done = CliRunner().invoke(
        app,
        ["model", "export", "x", "--data", "x", "--out", str(tmp_path), "--name", "x", "--factors", "both", "--json"],
    )
    assert done.exit_code == ConfigError.exit_code
    assert json.loads(done.stdout)["error"]["expected"] == "merged or kept"


def test_groups_that_fold_differently_are_refused() -> None:
    """Weights that were torn apart behind the model's back are no group any more."""
    model = make_variant(STRUCTURES["sharing"])
    model.blocks[1].norm1.weight = torch.nn.Parameter(model.blocks[1].norm1.weight + 1)
    with pytest.raises(ConfigError, match="blocks 0 and 1 that share weights"):
        fold(model)


def test_kept_factors_trade_rounds_for_products() -> None:
    """Merged, a model of low rank costs what a full one costs; with its factors it has less to open once per load.

    Behind a layer norm a factor hides in the norm's rounds; the other two layers take one round more each.
    """
    config = varied(BASE, dim=24, hidden=24, heads=((RS, SC),), activation=(RELU,))
    low = make_model(varied(config, ranks=(LayerRanks(qkv=4, proj=4, fc1=4, fc2=4),)), gain=1.0)
    full = VisionTransformer(config)
    state = low.state_dict()
    for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        down, up = (state.pop(f"blocks.0.{layer}.{part}.weight") for part in ("down", "up"))
        state |= {
            f"blocks.0.{layer}.weight": up @ down,
            f"blocks.0.{layer}.bias": state.pop(f"blocks.0.{layer}.up.bias"),
        }
    full.load_state_dict(state)
    merged, kept = _cost(_program(low)), _cost(_program(low, Factors.KEPT))
    assert _cost(_program(full)) == merged
    assert kept.total.rounds == merged.total.rounds + 2
    assert kept.total.bytes_sent[0] == merged.total.bytes_sent[0] + 8 * 4 * 4 * config.tokens
    saved = 24 * 72 - 4 * 96 + 3 * (24 * 24 - 4 * 48)
    assert merged.weight_bytes - kept.weight_bytes == 8 * saved
    assert merged.total.macs - kept.total.macs == config.tokens * saved
