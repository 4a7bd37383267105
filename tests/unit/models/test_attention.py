"""Attention kinds and the mask on scores: float forms against written-out formulas, parameters, lowering."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.export.vit import INPUT, export_vit
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.attention.gmm_mask import GmmMask
from mpcvit.models.attention.lepe import Lepe
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.codec import from_document, to_document
from tests.support.columns import varied
from tests.support.head_groups import CONFIG, make_group, make_kernel, make_mask, make_qkv
from tests.support.images import make_images, pixel_codes
from tests.support.models import TINY, make_model

UNMASKED = {kind for kind in AttentionKind if not kind.facts.scored}
MASKED = sorted(set(AttentionKind) - UNMASKED)

Row = torch.Tensor
Matrix = torch.Tensor


def _of_kind(kind: AttentionKind, **fields: Any) -> ViTConfig:
    return varied(CONFIG, heads=((kind,) * 3,), **fields)


def _softmax(scores: Row) -> Row:
    return scores.exp() / scores.exp().sum()


def _pooled(x: Matrix) -> Matrix:
    """The class token and the means of four windows of 2 x 2 patches."""
    windows = [[1 + 4 * (2 * a + i) + 2 * c + j for i in (0, 1) for j in (0, 1)] for a in (0, 1) for c in (0, 1)]
    return torch.stack([x[0], *(x[window].mean(0) for window in windows)])


def _quad2(kernel: Any, scores: Row, head: int) -> Row:
    weights = (kernel.scale[head] * scores + kernel.shift[head]) ** 2
    return weights / (weights.sum() + len(weights) / 16)


def _thex(kernel: Any, scores: Row, head: int) -> Row:
    x = torch.stack([max(s / 2 + 1, 0 * s) ** 3 for s in scores]).mean()[None] / 64
    for layer in kernel.layers:
        x = layer.weight @ x + layer.bias
    return scores * x / len(scores)


def _linear_relu(q: Row, k: Matrix) -> Row:
    weights = torch.stack([(q.clamp(min=0) * key.clamp(min=0)).sum() for key in k])
    return weights / (weights.sum() + len(k) / 16)


#: (kernel, head, query, keys, scores) -> weights of the values.
WEIGHTS: dict[AttentionKind, Callable[[Any, int, Row, Matrix, Row], Row]] = {
    AttentionKind.SOFTMAX: lambda kernel, head, q, k, s: _softmax(s),
    AttentionKind.RELU_SOFTMAX: lambda kernel, head, q, k, s: s.clamp(min=0) / (s.clamp(min=0).sum() + 1 / 16),
    AttentionKind.SCALING: lambda kernel, head, q, k, s: s / len(s),
    AttentionKind.SQUARE: lambda kernel, head, q, k, s: s**2 / len(s),
    AttentionKind.QUAD2: lambda kernel, head, q, k, s: _quad2(kernel, s, head),
    AttentionKind.LINEAR_RELU: lambda kernel, head, q, k, s: _linear_relu(q, k),
    AttentionKind.LINFORMER: lambda kernel, head, q, k, s: (
        _softmax(torch.stack([q @ (row @ k) for row in kernel.key_projection])) @ kernel.value_projection
    ),
    AttentionKind.THEX: lambda kernel, head, q, k, s: _thex(kernel, s, head),
    AttentionKind.POOLED_KV: lambda kernel, head, q, k, s: (
        _softmax(_pooled(k) @ q) @ _pooled(torch.eye(len(k), dtype=k.dtype))
    ),
}


def _naive(kind: AttentionKind, kernel: AttentionKernel, mask: torch.Tensor | None = None) -> torch.Tensor:
    """What the heads should give, a query at a time."""
    q, k, v = make_qkv(batch=2)
    output = torch.zeros_like(q)
    for image, head, token in np.ndindex(*q.shape[:3]):
        query, keys = q[image, head, token], k[image, head]
        scores = keys @ query if mask is None else (keys @ query) * mask[head, token]
        output[image, head, token] = WEIGHTS[kind](kernel, head, query, keys, scores) @ v[image, head]
    return output


@pytest.mark.parametrize("kind", AttentionKind)
def test_kernels_compute_their_formulas(kind: AttentionKind) -> None:
    """Every kind equals its formula, written out for one query of one head."""
    kernel = make_kernel(kind)
    assert torch.allclose(kernel(*make_qkv(batch=2)), _naive(kind, kernel), atol=1e-12)


@pytest.mark.parametrize("kind", MASKED)
def test_masks_multiply_scores(kind: AttentionKind) -> None:
    """A mask multiplies the scores of every kind that has scores, a factor per head, query and key."""
    kernel, mask = make_kernel(kind), make_mask()
    assert torch.allclose(kernel(*make_qkv(batch=2), mask), _naive(kind, kernel, mask), atol=1e-12)


def test_the_mask_is_a_mixture_of_gaussians_over_distance() -> None:
    """Components add up; distance is that of patches in the grid; the class token's row and column are 1."""
    torch.manual_seed(1)
    module = GmmMask(replace(CONFIG, gmm=2), 3)
    with torch.no_grad():
        module.alpha.copy_(torch.randn(3, 2))
        module.sigma.copy_(torch.tensor([[0.5, 4.0]] * 3))
        mask = module()
    assert mask.shape == (3, 17, 17)
    assert (mask[:, 0] == 1).all()
    assert (mask[:, :, 0] == 1).all()
    distance = (3 - 0) ** 2 + (2 - 1) ** 2  # of patch 2 (row 0, column 2) and patch 13 (row 3, column 1)
    for head in range(3):
        parts = [
            float(module.alpha[head, k].detach()) * math.exp(-distance / 2) ** (1 / (sigma**2 + 0.01))
            for k, sigma in enumerate((0.5, 4.0))
        ]
        assert float(mask[head, 1 + 2, 1 + 13]) == pytest.approx(sum(parts), abs=1e-6)


def test_a_new_mask_is_wide() -> None:
    """It does not enlarge scores, and a patch's score with itself stays as it is."""
    mask = GmmMask(replace(CONFIG, gmm=3), 3)().detach()
    assert mask.max() <= 1 + 1e-6
    assert torch.allclose(mask.diagonal(dim1=1, dim2=2), torch.ones(3, 17))


def test_masked_models_mask_every_head_with_its_own_mask() -> None:
    """In a block of mixed kinds each head's scores meet the mask of its place."""
    kinds = (AttentionKind.SCALING, AttentionKind.SQUARE, AttentionKind.SCALING)
    model = make_model(varied(CONFIG, heads=(kinds,), gmm=1))
    attention, x = model.blocks[0].attn, torch.randn(1, CONFIG.tokens, CONFIG.dim)
    plain = _heads(model, x)
    with torch.no_grad():
        attention.mask.alpha[2] += 1
    changed = (_heads(model, x) - plain).abs().amax((0, 1)).reshape(3, CONFIG.head_dim).amax(-1)
    assert changed[2] > 1e-3
    assert (changed[:2] == 0).all()


def make_lepe(config: ViTConfig) -> Lepe:
    """Filters of some size; new ones are 0."""
    torch.manual_seed(6)
    lepe = Lepe(config, config.head_count)
    return lepe.requires_grad_(False).apply(lambda module: torch.nn.init.normal_(module.weight))


def test_lepe_adds_up_neighbours_in_the_grid() -> None:
    """A patch gets its neighbours' values by its channels' filter, nothing from beyond the edge; a class token none."""
    lepe = make_lepe(replace(CONFIG, lepe=15))
    _, _, v = (x.float() for x in make_qkv())
    got = lepe(v)
    for head, channel, row, column in ((0, 0, 0, 0), (1, 3, 2, 3), (2, 1, 3, 1)):
        kernel = lepe.weight[(head * CONFIG.head_dim + channel) // (CONFIG.dim // 15), 0]
        expected = sum(
            float(kernel[1 + down, 1 + right] * v[0, head, 1 + 4 * (row + down) + column + right, channel])
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if 0 <= row + down < 4 and 0 <= column + right < 4
        )
        assert float(got[0, head, 1 + 4 * row + column, channel]) == pytest.approx(expected, abs=1e-5)
    assert (got[:, :, 0] == 0).all()


@pytest.mark.parametrize("filters", [3, 15])
@pytest.mark.parametrize("class_token", [False, True])
def test_lepe_is_a_matrix_per_filter(class_token: bool, filters: int) -> None:
    """What export multiplies with is what the model computes."""
    config = replace(CONFIG, lepe=filters, class_token=class_token)
    lepe, v = make_lepe(config), torch.randn(2, 3, config.tokens, config.head_dim)
    by_filter = v.permute(0, 1, 3, 2).reshape(2, filters, config.dim // filters, config.tokens)
    got = (by_filter @ lepe.matrices().mT).reshape(2, 3, config.head_dim, config.tokens).permute(0, 1, 3, 2)
    assert torch.allclose(got, lepe(v), atol=1e-5)


def test_new_lepe_is_none() -> None:
    """A model begins as the same model without it, and learns its filters."""
    without = replace(CONFIG, class_token=False)  # which gets nothing from the last block's filters
    config = replace(without, lepe=3)
    model, images = make_model(config), make_images(config, 2)
    plain = make_model(without)
    plain.load_state_dict(model.state_dict(), strict=False)
    filters = [block.attn.lepe.weight for block in model.blocks]
    with torch.no_grad():
        for weight in filters:
            weight.zero_()
        assert torch.equal(Lepe(config, config.head_count).weight, torch.zeros(3, 1, 3, 3))
        assert torch.allclose(model(images), plain(images), atol=1e-6)
    model.train()(images).square().mean().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in filters)


def test_heads_of_one_block_are_independent() -> None:
    """A block of mixed kinds computes for each head what a block of that kind alone computes."""
    kinds = (AttentionKind.SCALING, AttentionKind.SOFTMAX)
    mixed, x = make_model(varied(TINY, heads=(kinds,))), torch.randn(2, 4, 16)
    got = _heads(mixed, x)
    for head, kind in enumerate(kinds):
        alone = make_model(varied(TINY, heads=((kind, kind),)))
        alone.load_state_dict(mixed.state_dict())
        columns = slice(8 * head, 8 * head + 8)
        assert torch.allclose(got[..., columns], _heads(alone, x)[..., columns], atol=1e-6)


def _heads(model: VisionTransformer, x: torch.Tensor) -> torch.Tensor:
    """What the output projection of the first block reads."""
    seen = []
    handle = model.blocks[0].attn.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.blocks[0].attn(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("gmm", [0, 2])
@pytest.mark.parametrize("kind", AttentionKind)
def test_every_kind_trains(kind: AttentionKind, gmm: int) -> None:
    """Gradients reach every parameter, those of the kind and of the mask included."""
    if gmm and kind in UNMASKED:
        pytest.skip("this kind has no scores to mask")
    # behind the last attention a class token is read, whose scores have no mask
    config = _of_kind(kind, gmm=gmm, class_token=not gmm)
    model = make_model(config).train()
    model(make_images(config, 2)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_only_kinds_with_parameters_add_to_files() -> None:
    """Models of the kinds without parameters keep the names of earlier versions."""
    for kind in AttentionKind:
        added = [name for name in VisionTransformer(_of_kind(kind)).state_dict() if "kernels" in name]
        with_parameters = {AttentionKind.QUAD2, AttentionKind.LINFORMER, AttentionKind.THEX}
        assert bool(added) == (kind in with_parameters)
    masked = VisionTransformer(_of_kind(AttentionKind.SCALING, gmm=2)).state_dict()
    assert [name for name in masked if "mask" in name] == ["blocks.0.attn.mask.alpha", "blocks.0.attn.mask.sigma"]


def test_new_heads_begin_sensibly() -> None:
    """In a new model 2Quad is MPCFormer's (s + 5)^2, and THE-X is within a few percent of scaling."""
    q, k, v = (x.float() for x in make_qkv())
    scores = q @ k.mT
    quad2 = _fresh(AttentionKind.QUAD2)
    weights = (scores + 5).square()
    assert torch.allclose(
        quad2(q, k, v), weights @ v / (weights.sum(-1, keepdim=True) + 16 * 17 / 16), rtol=1e-4, atol=1e-5
    )
    got, expected = _fresh(AttentionKind.THEX)(q, k, v), _fresh(AttentionKind.SCALING)(q, k, v)
    assert (got - expected).norm() < 0.3 * expected.norm()


def _fresh(kind: AttentionKind) -> AttentionKernel:
    """A new model's kernel, which the model's own initialisation went over."""
    torch.manual_seed(4)
    kernel: AttentionKernel = VisionTransformer(_of_kind(kind)).blocks[0].attn.kernels[kind.value].requires_grad_(False)
    return kernel


@pytest.mark.parametrize(
    "change",
    [
        {"linformer_rank": 0},
        {"pooled_side": 0},
        {"gmm": -1},
        {"lepe": -3},
        {"lepe": 4},  # for 3 heads
        {"lepe": 9},  # for 15 channels
        {"heads": ((AttentionKind.POOLED_KV,) * 3,), "pooled_side": 3},
        *({"heads": ((kind,) * 3,), "gmm": 1} for kind in sorted(UNMASKED)),
    ],
)
def test_impossible_options_are_refused(change: dict[str, Any]) -> None:
    """Options that do not fit the model are ConfigErrors."""
    with pytest.raises(ConfigError):
        varied(CONFIG, **change)


def test_configurations_of_earlier_versions_are_read() -> None:
    """Options that a document does not name have their defaults; those that it names come back."""
    document = to_document(TINY)
    for name in ("linformer_rank", "pooled_side", "gmm", "lepe"):
        del document[name]
    assert from_document(ViTConfig, document) == TINY
    changed = replace(CONFIG, linformer_rank=3, pooled_side=1, gmm=4, lepe=15)
    assert from_document(ViTConfig, to_document(changed)) == changed


#: Kinds of the heads of two blocks, of which the last attends for the class token only; Gaussians of the mask, filters.
MODELS = [
    ("softmax relu_softmax square", "2quad linear_relu linformer", 0, 0),
    ("thex pooled_kv linear_relu", "softmax relu_softmax square", 0, 0),
    ("2quad scaling linformer", "thex pooled_kv scaling", 0, 3),
    ("softmax 2quad scaling", "relu_softmax square thex", 2, 0),
    ("scaling linformer scaling", "relu_softmax scaling relu_softmax", 0, 15),  # heads that change places
]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "last", "gmm", "lepe"), MODELS)
def test_models_are_exported_faithfully(first: str, last: str, gmm: int, lepe: int) -> None:
    """Every kind beside others, for all tokens and for the class token only, alone, behind a mask and with filters."""
    heads = tuple(tuple(AttentionKind(kind) for kind in block.split()) for block in (first, last))
    config = varied(CONFIG, heads=heads, activation=(Activation.RELU,) * 2, gmm=gmm, lepe=lepe)
    model, images = make_model(config, gain=1.5), make_images(config, 24)
    with torch.no_grad():
        for block in model.blocks:
            if block.attn.lepe is not None:
                block.attn.lepe.weight.normal_(0.0, 0.3)
        # as large as a patch; a new one is so small that its rounding is most of the error
        model.cls_token.add_(torch.randn_like(model.cls_token))
    exported = export_vit(model, images)
    assert exported.fidelity < 1e-9
    codes = pixel_codes(images)
    got = decode(
        run_reference(exported.program, exported.weights, {INPUT: codes}), exported.program.types["logits"].frac
    )
    with torch.inference_mode():
        assert np.abs(got - model(images).numpy()).max() < 0.02


def test_models_cover_every_kind() -> None:
    """No kind escapes, in the first block or in the last."""
    for place in (0, 1):
        assert {kind for model in MODELS for kind in model[place].split()} == {*map(str, AttentionKind)}


@pytest.mark.parametrize("scales", [(0.01, -0.02, 0.005), (3.0, -0.25, 0.0), (0.0, 0.0, 0.0)])
def test_2quad_is_lowered_for_any_scale(scales: tuple[float, ...]) -> None:
    """Large, small, negative and missing scales fold into the queries; denominators stay positive without a shift."""

    def change(kernel: Any) -> None:
        kernel.scale.copy_(torch.tensor(scales))
        kernel.shift.copy_(torch.tensor([0.0, 1.0, 0.0]))

    group = make_group("2quad", change)
    assert group.fidelity < 1e-12
    got = decode(run_reference(group.program, group.weights, group.inputs), 12)
    assert np.abs(got - group.exact).max() < 2.0**-7


@pytest.mark.parametrize("kind", [AttentionKind.QUAD2, AttentionKind.LINEAR_RELU])
def test_denominators_are_proven_positive(kind: AttentionKind) -> None:
    """The lower bound of a denominator comes from its epsilon, not from calibration data."""
    bounds = make_group(kind.value).program.types[f"{kind}.denominator"].qtype
    epsilon = 17 / 16 / 16  # of the mean, at 17 keys divided by 16
    assert epsilon / 2 <= bounds.lo <= epsilon
    assert bounds.hi > epsilon
