"""MLP activations, gates and norms: in floating point, in configurations, folded."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.export.fold import fold
from mpcvit.export.vit import export_vit
from mpcvit.models.activation import ACTIVATIONS, Quad, RelaxedGate
from mpcvit.models.activation.quad import QUAD_COEFFICIENTS
from mpcvit.models.block import BlockConfig, Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, GateAxis, Norm
from mpcvit.models.norm import LAYER_NORM_EPSILON, NORMS
from mpcvit.models.vit import Mlp
from mpcvit.ops import Linear, Relu, Rescale, Square
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import load_model, save_model
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, QUICK, VARIANTS, channels, make_variant, tokens, variant

FORMULAS = {
    Activation.GELU: lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    Activation.RELU: lambda x: max(x, 0.0),
    Activation.QUAD: lambda x: 0.125 * x**2 + 0.25 * x + 0.5,
    Activation.IDENTITY: lambda x: x,
}


@pytest.mark.parametrize("kind", list(Activation))
def test_activations_are_their_formulas(kind: Activation) -> None:
    """Every activation is the scalar function of its name, value by value; quad begins as MPCFormer's."""
    x = torch.linspace(-6, 6, 101)
    expected = torch.tensor([FORMULAS[kind](value) for value in x.tolist()])
    assert torch.allclose(ACTIVATIONS[kind]()(x), expected, atol=1e-5)


#: Standard deviation: root mean square error of the nearest quadratic.
FITS = {0.5: 0.0125, 1.0: 0.078, 1.5: 0.159, 2.0: 0.232, 3.0: 0.3555}


@pytest.mark.parametrize("sigma", FITS)
def test_quad_is_calibrated_to_gelu_on_normal_values(sigma: float) -> None:
    """What is fitted to GELU at quantiles of N(0, sigma^2) is the least squares quadratic in closed form.

    GELU(x) = x / 2 + e(x) with e even, so that the linear coefficient is 1/2, and a x^2 + c is the regression of e on
    x^2. With m = E[phi(x)] = 1 / sqrt(2 pi (1 + sigma^2)), Stein's lemma gives E[e] = sigma^2 m and
    E[x^2 e] = sigma^4 m (2 + 1 / (1 + sigma^2)); Var(x^2) = 2 sigma^4.
    """
    count = 400_000
    x = sigma * torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    gelu = torch.nn.functional.gelu(x)
    quad = Quad()
    assert quad.coefficients.tolist() == list(QUAD_COEFFICIENTS)
    quad.calibrate(x.reshape(100, -1, 10), gelu.reshape(100, -1, 10))
    variance = sigma**2
    density = 1 / math.sqrt(2 * math.pi * (1 + variance))
    expected = [
        density * variance**2 / (2 * (1 + variance)),
        0.5,
        density * (2 + variance) / (2 * (1 + variance)),
    ]
    assert quad.coefficients.tolist() == pytest.approx(expected, abs=2e-4)
    assert float((quad(x) - gelu).detach().square().mean().sqrt()) == pytest.approx(FITS[sigma], abs=1e-3)


def test_quad_calibrated_to_a_quadratic_is_that() -> None:
    """Of any values, and the shortest of all solutions where these do not determine it."""
    quad, x = Quad(), torch.tensor([-3.0, -1.0, 0.5, 2.0])
    quad.calibrate(x, 0.75 - 2 * x + 0.5 * x**2)
    assert quad.coefficients.tolist() == pytest.approx([0.75, -2.0, 0.5], abs=1e-6)
    quad.calibrate(torch.zeros(4), torch.full((4,), 3.0))
    assert quad.coefficients.tolist() == pytest.approx([3.0, 0.0, 0.0], abs=1e-6)


def test_quad_is_trained() -> None:
    """The coefficients are a parameter of three scalars with gradients."""
    quad, x = Quad(), torch.linspace(-4, 4, 9)
    quad(x).sum().backward()
    assert torch.allclose(quad.coefficients.grad, torch.stack([x**0, x, x**2]).sum(1))


def block(activation: Activation, gate: Gate | None = None) -> BlockConfig:
    """BASE's block with another MLP."""
    return replace(BASE.blocks[0], activation=activation, gate=gate)


@pytest.mark.parametrize("gate", [tokens(0, 4, 8), channels(1, 2, 15)])
@pytest.mark.parametrize("kind", list(Activation))
def test_gates_apply_the_activation_where_they_say(gate: Gate, kind: Activation) -> None:
    """An MLP with a gate is fc2 of act(h) at kept positions and of h elsewhere, one value at a time."""
    torch.manual_seed(0)
    mlp = Mlp(BASE, block(kind, gate))
    x = torch.randn(2, BASE.tokens, BASE.dim)
    with torch.no_grad():
        hidden = mlp.fc1(x)
        for index in torch.cartesian_prod(*map(torch.arange, hidden.shape)).tolist():
            if index[1 if gate.axis is GateAxis.TOKEN else 2] in gate.kept:
                hidden[tuple(index)] = FORMULAS[kind](float(hidden[tuple(index)]))
        assert torch.allclose(mlp(x), mlp.fc2(hidden), atol=1e-5)


def test_gates_add_nothing_to_the_weights() -> None:
    """A gate is configuration: models with and without one have the same state."""
    assert make_variant(VARIANTS["repavit"]).state_dict().keys() == (
        make_variant(varied(VARIANTS["repavit"], gate=())).state_dict().keys()
    )


@pytest.mark.parametrize("axis", list(GateAxis))
def test_relaxed_gates_mix(axis: GateAxis) -> None:
    """On demand there is one beta per position, 1 at first; it mixes act(h) and h, limited to [0, 1], and learns."""
    torch.manual_seed(0)
    mlp, x = Mlp(BASE, block(Activation.GELU)), torch.randn(2, BASE.tokens, BASE.dim)
    before, names = mlp(x), set(dict(mlp.named_parameters()))
    gate = mlp.relax(axis)
    assert set(dict(mlp.named_parameters())) == names | {"gate.beta"}
    assert torch.allclose(mlp(x), before)
    size = BASE.tokens if axis is GateAxis.TOKEN else BASE.blocks[0].hidden
    beta = torch.rand(size)
    beta[0], beta[1] = -0.5, 1.5
    gate.beta.data.copy_(beta)
    limited = beta.clamp(0, 1)
    along = limited.reshape(-1, 1) if axis is GateAxis.TOKEN else limited
    hidden = mlp.fc1(x)
    expected = mlp.fc2(along * torch.nn.functional.gelu(hidden) + (1 - along) * hidden)
    assert torch.allclose(mlp(x), expected, atol=1e-6)
    gate.beta.data.copy_(limited)
    mlp(x).square().sum().backward()
    assert gate.beta.grad is not None
    assert (gate.beta.grad != 0).all()


def test_relaxed_gate_begins_with_the_fixed_one() -> None:
    """Relaxing a gate of the same axis keeps its function; another axis begins with the activation everywhere."""
    torch.manual_seed(0)
    mlp, x = Mlp(BASE, block(Activation.RELU, tokens(1, 5))), torch.randn(2, BASE.tokens, BASE.dim)
    before = mlp(x)
    assert torch.nonzero(mlp.relax(GateAxis.TOKEN).beta).flatten().tolist() == [1, 5]
    assert torch.allclose(mlp(x), before, atol=1e-6)
    everywhere = Mlp(BASE, block(Activation.RELU, tokens(1, 5))).relax(GateAxis.CHANNEL).beta
    assert torch.equal(everywhere, torch.ones(BASE.blocks[0].hidden))


def _naive_norm(kind: Norm, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """One vector at a time; batch norm with the statistics of ``x``."""
    rows = [row - sum(row.tolist()) / len(row) for row in x.reshape(-1, x.shape[-1])]
    free = torch.stack(rows)
    if kind is Norm.LAYERNORM:
        free = torch.stack([row / math.sqrt(float(row.square().mean()) + LAYER_NORM_EPSILON) for row in rows])
    elif kind is Norm.BATCHNORM:
        columns = [(column - column.mean()) / math.sqrt(float(column.var(correction=0)) + 1e-5) for column in free.T]
        free = torch.stack(columns, dim=1)
    return (free * weight + bias).reshape(x.shape)


@pytest.mark.parametrize("kind", list(Norm))
def test_norms_are_their_formulas(kind: Norm) -> None:
    """Every norm is its definition, ignores the mean over channels, and says its gain and bias."""
    torch.manual_seed(0)
    norm, x = NORMS[kind](6), 1 + 3 * torch.randn(4, 5, 6)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(6))
        norm.bias.copy_(torch.randn(6))
    assert torch.allclose(norm.train()(x), _naive_norm(kind, x, norm.weight, norm.bias), atol=1e-5)
    got = norm.eval()(x)
    assert torch.allclose(norm(x + 7), got, atol=1e-4)
    if kind is not Norm.LAYERNORM:
        gain, bias = norm.gain_and_bias()
        assert torch.allclose(((x - x.mean(-1, keepdim=True)) * gain + bias).float(), got, atol=1e-5)


def test_batchnorm_learns_statistics_of_mean_free_tokens() -> None:
    """Running statistics are those of the channels of tokens without their mean, over batch and tokens."""
    norm, x = NORMS[Norm.BATCHNORM](6), 2 + torch.randn(50, 5, 6) * torch.arange(1, 7)
    for _ in range(100):
        norm.train()(x)
    free = (x - x.mean(-1, keepdim=True)).reshape(-1, 6)
    assert torch.allclose(norm.running_mean, free.mean(0), atol=1e-3)
    assert torch.allclose(norm.running_var, free.var(0), rtol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"gate": (None,)},
        {"gate": (None,) * 3},
        {"gate": (tokens(9), None)},
        {"gate": (None, channels(16))},
        {"norms": ((Norm.AFFINE, Norm.AFFINE),)},
        {"norms": ((Norm.AFFINE,),) * 2},
    ],
)
def test_gates_and_norms_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    """One entry per block, positions in range, two norms a block: all else is a ConfigError."""
    with pytest.raises(ConfigError):
        BASE.with_blocks(**fields)
    assert varied(BASE, class_token=True, gate=(tokens(9), channels(15))).blocks[0].gate == tokens(9)


@pytest.mark.parametrize("kept", [(), (-1, 2), (1, 1), (2, 1)])
def test_impossible_gates_are_refused(kept: tuple[int, ...]) -> None:
    """Nothing kept, negative positions, duplicates and disorder are ConfigErrors that name the positions."""
    with pytest.raises(ConfigError, match="gate that keeps tokens"):
        tokens(*kept)


@pytest.mark.parametrize("name", VARIANTS)
def test_gates_and_norms_survive_json(name: str) -> None:
    """Through a file's JSON every configuration comes back equal, kinds as enum members."""
    config = from_document(ViTConfig, json.loads(json.dumps(to_document(VARIANTS[name]))))
    assert config == VARIANTS[name]
    assert all(gate is None or isinstance(gate.axis, GateAxis) for gate in column(config, "gate"))
    assert all(isinstance(norm, Norm) for pair in column(config, "norms") for norm in pair)


def test_documents_without_gates_and_norms_are_read() -> None:
    """Configurations without them mean no gate and layer norms; unknown kinds are ConfigErrors."""
    document = to_document(BASE)
    for block in document["blocks"]:
        del block["gate"], block["norms"]
    config = from_document(ViTConfig, document)
    assert config == BASE
    assert column(config, "gate") == (None, None)
    assert column(config, "norms") == ((Norm.LAYERNORM, Norm.LAYERNORM),) * 2
    wrong: list[dict[str, Any]] = [
        {"norms": ["groupnorm", "affine"]},
        {"norms": ["affine"]},
        {"gate": {"axis": "row", "kept": [1]}},
        {"gate": {"axis": "token"}},
        {"gate": {"axis": "token", "kept": [1], "beta": 1}},
        {"gate": {"axis": "token", "kept": ["1"]}},
        {"gate": {"axis": "token", "kept": [1.0]}},
    ]
    for fields in wrong:
        with pytest.raises(ConfigError):
            from_document(
                ViTConfig, {**document, "blocks": [{**document["blocks"][0], **fields}, document["blocks"][1]]}
            )


@pytest.mark.parametrize("name", ["token-quad-all", "repavit", "affine"])
def test_variants_are_saved_and_loaded(tmp_path: Path, name: str) -> None:
    """Coefficients, gates and running statistics come back from files."""
    model, images = make_variant(VARIANTS[name]), make_images(BASE, 3)
    save_model(model, tmp_path)
    assert torch.equal(load_model(tmp_path)(images), model(images))


@pytest.mark.parametrize("name", VARIANTS)
def test_no_folded_layer_writes_a_mean(name: str) -> None:
    """Everything that writes the residual stream writes vectors of mean zero: its readers no longer remove it."""
    model = make_variant(VARIANTS[name])
    for block in fold(model).blocks:
        layers = block.mlp.activated
        fused = None if block.mlp.relu else block.mlp.fused  # whose mean goes behind the ReLU, when it is lowered
        written = [block.proj, fused, None if layers is None else layers.fc2]
        assert all(layer is None or layer.weight.mean(-1).abs().max() < 1e-12 for layer in written)
        assert all(layer is None or layer.bias.mean(-1).abs() < 1e-12 for layer in written)
        if layers is not None and layers.skip is not None:
            assert layers.skip.mean(-1).abs().max() < 1e-12


def test_training_models_are_exported_with_running_statistics() -> None:
    """Export reads weights and statistics and does not care whether the model is training."""
    model, images = make_variant(VARIANTS["repavit"]), make_images(VARIANTS["repavit"], 16)
    statistics = model.blocks[0].norm2.running_mean.clone()
    # batch norms bound nothing
    assert export_vit(model.train(), images, replace(QUICK, calibrated=True)).fidelity < 1e-9
    assert model.training
    assert torch.equal(model.blocks[0].norm2.running_mean, statistics)


@pytest.mark.parametrize(
    ("gate", "shape"), [(None, (9, 16)), (tokens(0, 3, 4), (3, 16)), (channels(0, 3, 4, 7, 9), (9, 5))]
)
def test_only_kept_positions_are_activated(gate: Gate | None, shape: tuple[int, int]) -> None:
    """A gate leaves as many comparisons as it keeps, and idle channels are not even computed."""
    config = variant(Activation.RELU, Activation.RELU, gate=(gate, None))
    program = export_vit(make_variant(config), make_images(BASE, 16), QUICK).program
    relus = [node for node in program.nodes if isinstance(node.op, Relu) and node.name.startswith("block0")]
    assert [node.type.shape for node in relus] == [shape]
    opened = {node.name: node.type.shape for node in program.nodes if isinstance(node.op, Rescale)}
    assert opened["block0.norm_fc1.unscaled"] == opened["block0.fc1"] == shape
    products = {node.name: node.type.shape for node in program.nodes if isinstance(node.op, Linear)}
    assert products["block0.fc2.matmul"] == (shape[0], BASE.dim)


@pytest.mark.parametrize("kind", [Norm.AFFINE, Norm.BATCHNORM])
def test_norms_without_division_leave_no_work(kind: Norm) -> None:
    """Of affine and batch norms nothing is left but the linear layer behind them: one opening to fc1, or to Q|K|V."""
    config = variant(Activation.RELU, Activation.RELU, norms=((kind, kind),) * 2)
    program = export_vit(make_variant(config), make_images(BASE, 16), replace(QUICK, calibrated=True)).program
    assert [node.name for node in program.nodes if isinstance(node.op, Square)] == ["head.square"]
    for layer in ("block1.norm_fc1", "block1.attn.norm_qkv"):
        inside = [node.name for node in program.nodes if node.name.startswith(layer)]
        assert inside == [f"{layer}.matmul", f"{layer}.sum"]
    behind = {
        name: program.types[f"block1.{name}"].frac for name in ("fc1", "attn.queries", "attn.keys", "attn.values")
    }
    # queries and keys keep more bits than other activations
    assert behind["attn.queries"] == behind["attn.keys"] > behind["attn.values"] == behind["fc1"] == 12


@pytest.mark.parametrize(
    ("coefficients", "gate"),
    [
        ((0.5, 0.25, 0.125), None),
        ((0.1, 0.5, -0.2), channels(0, 3, 9)),
        ((0.3, 0.5, 0.01), None),
        ((0.3, -0.5, 1e-6), channels(0, 3, 9)),
        ((0.3, 0.5, 0.0), tokens(1, 2, 3)),
    ],
)
def test_quad_folds_with_any_coefficients(coefficients: tuple[float, float, float], gate: Gate | None) -> None:
    """The square is completed where that keeps numbers small, else the linear term goes beside; both are exact."""
    model = make_variant(variant(Activation.QUAD, Activation.RELU, gate=(gate, None)))
    with torch.no_grad():
        model.blocks[0].mlp.act.coefficients.copy_(torch.tensor(coefficients))
    _, linear, quadratic = coefficients
    beside = abs(linear) > 32 * abs(quadratic)
    idle = gate is not None and gate.axis is GateAxis.CHANNEL
    assert (fold(model).blocks[0].mlp.activated.skip is not None) == (beside or idle)
    exported = export_vit(model, make_images(BASE, 16), QUICK)
    assert exported.fidelity < 1e-9
    assert exported.program.types["block0.fc1"].qtype.magnitude < 100


def test_models_in_the_middle_of_a_search_are_not_exported() -> None:
    """A relaxed gate has no place in a Program."""
    model = make_variant(BASE)
    assert isinstance(model.blocks[0].mlp.relax(GateAxis.TOKEN), RelaxedGate)
    with pytest.raises(ConfigError, match="gates are being searched"):
        export_vit(model, make_images(BASE, 4))


def test_a_relu_behind_the_mlp_is_for_tokens_without_activation() -> None:
    """MPCViT+'s beta * y + (1 - beta) * ReLU(y): none where activations are, everywhere without; mixed in a search."""
    x = torch.randn(2, 9, BASE.dim)
    with torch.no_grad():
        for activation, gate, kept in (
            (Activation.GELU, tokens(0, 4), [0, 4]),
            (Activation.GELU, None, list(range(9))),
            (Activation.GELU, channels(0, 1), list(range(9))),
            (Activation.IDENTITY, None, []),
        ):
            plain = Mlp(BASE, replace(BASE.blocks[0], activation=activation, gate=gate))
            mended = Mlp(BASE, replace(BASE.blocks[0], activation=activation, gate=gate, post_relu=True))
            mended.load_state_dict(plain.state_dict())
            expected = plain(x).relu()
            expected[:, kept] = plain(x)[:, kept]
            assert torch.equal(mended(x), expected)
        mended.activation = Activation.GELU
        plain.relax(GateAxis.TOKEN).beta.fill_(0.25)
        mended.relax(GateAxis.TOKEN).beta.fill_(0.25)
        assert torch.allclose(mended(x), 0.25 * plain(x) + 0.75 * plain(x).relu(), atol=1e-6)
