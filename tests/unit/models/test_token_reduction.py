"""Fewer tokens: counts and grids in the configuration, the modules against independent formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.attention.pooled_kv import PooledKV
from mpcvit.models.block import Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, Ranking, ReductionKind
from mpcvit.models.reduction.evit import EvitReduction
from mpcvit.models.reduction.spvit import SpvitReduction
from mpcvit.models.reduction.window_pool import WindowPoolReduction
from mpcvit.models.token_flow import Reduction, Tokens
from mpcvit.models.vit import Block, VisionTransformer
from mpcvit.store.codec import from_document, to_document
from tests.support.columns import column, configured, varied
from tests.support.images import make_images
from tests.support.models import make_model

#: 4 x 4 patches, three blocks.
BASE = configured(
    image_size=16,
    patch_size=4,
    classes=3,
    dim=12,
    hidden=16,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),) * 3,
    activation=(Activation.RELU,) * 3,
    lepe=4,
)


def evit(keep: int) -> Reduction:
    """EViT to so many tokens and a fused one."""
    return Reduction(kind=ReductionKind.EVIT, keep=keep)


def spvit(keep: int) -> Reduction:
    """SPViT to so many tokens and a package."""
    return Reduction(kind=ReductionKind.SPVIT, keep=keep)


def pool(keep: int) -> Reduction:
    """Window pooling to so many tokens."""
    return Reduction(kind=ReductionKind.WINDOW_POOL, keep=keep)


def with_heads(kind: AttentionKind) -> tuple[tuple[AttentionKind, ...], ...]:
    """A head of ``kind`` in the last block, scaling heads elsewhere."""
    plain = (AttentionKind.SCALING,) * 2
    return (plain, plain, (kind, AttentionKind.SCALING))


@pytest.mark.parametrize("class_token", [False, True])
def test_counts_of_tokens(class_token: bool) -> None:
    """EViT reduces between attention and MLP, the others before the attention; selections add a token."""
    own = int(class_token)
    config = varied(BASE, class_token=class_token, reduction=(pool(4 + own), evit(3), spvit(2)))
    counts = [(t.entry.count, t.attention.count, t.mlp.count) for t in config.block_tokens]
    assert counts == [(16 + own, 4 + own, 4 + own), (4 + own, 4 + own, 4), (4, 3, 3)]
    assert [tokens.attention.side for tokens in config.block_tokens] == [2, 2, None]
    assert config.output_tokens == Tokens(count=3, own=own, side=None)
    model, images = make_model(config), make_images(config, 2)
    assert [cast(Block, block).attn.lepe is not None for block in model.blocks] == [True, True, False]
    logits, out = model.intermediates(images)
    assert logits.shape == (2, 3)
    for number, (_, attention, mlp) in enumerate(counts):
        assert out[f"block{number}.attn"].shape[1] == attention
        assert out[f"block{number}.mlp"].shape[1] == out[f"block{number}"].shape[1] == mlp
        assert out[f"block{number}.reduced"].shape[1] == mlp
    last = out["block2"]
    assert torch.equal(out["pooled"], model.norm(last[:, 0] if class_token else last.mean(1)))


@pytest.mark.parametrize(
    "change",
    [
        {"reduction": (evit(16), None, None)},
        {"reduction": (evit(17), None, None)},
        {"reduction": (spvit(3), evit(4), None)},
        {"reduction": (evit(1), None, None), "class_token": True},
        {"reduction": (pool(9), None, None)},
        {"reduction": (pool(16), None, None)},
        {"reduction": (pool(5), None, None)},
        {"reduction": (pool(4), None, None), "class_token": True},
        {"reduction": (pool(1), None, None), "class_token": True},
        {"reduction": (evit(9), pool(4), None)},
        {"reduction": (evit(3), None, None), "gmm": 1},
        *(
            {"reduction": (None, evit(3), None), "heads": with_heads(kind)}
            for kind in (AttentionKind.LINFORMER, AttentionKind.THEX, AttentionKind.POOLED_KV)
        ),
        {"reduction": (pool(4), None, None), "heads": with_heads(AttentionKind.POOLED_KV), "pooled_side": 4},
        {"reduction": (None, evit(3), None), "gate": (None, Gate(axis=GateAxis.TOKEN, kept=(0, 2)), None)},
        {"reduction": (pool(4), None, None), "gate": (None, Gate(axis=GateAxis.TOKEN, kept=(0, 4)), None)},
    ],
)
def test_impossible_reductions_are_refused(change: dict) -> None:
    """Wrong lengths and counts, windows that do not divide, and what needs a grid where there is none."""
    with pytest.raises(ConfigError) as caught:
        varied(BASE, **change)
    assert caught.value.remedy
    with pytest.raises(ConfigError, match="for 3 blocks"):
        BASE.with_blocks(reduction=(evit(3), None))


def test_nothing_kept_is_refused() -> None:
    """Before there is a model."""
    with pytest.raises(ConfigError, match="reduction to 0 tokens"):
        evit(0)


@pytest.mark.parametrize("kind", list(AttentionKind))
def test_every_kind_goes_with_some_reduction(kind: AttentionKind) -> None:
    """EViT takes any attention's queries and keys; what needs a grid finds a smaller one behind window pooling."""
    heads = ((kind,) * 2,)
    base = varied(BASE, heads=heads, activation=column(BASE, "activation")[:1], pooled_side=2)
    for reductions, count in (((evit(5),), 6), ((pool(4),), 4)):
        config = varied(base, reduction=reductions)
        model = make_model(config)
        assert model.intermediates(make_images(config, 2))[1]["block0"].shape == (2, count, 12)
    if kind is AttentionKind.POOLED_KV:
        kernel = cast(PooledKV, cast(Block, model.blocks[0]).attn.kernels[kind.value])
        assert (kernel.window, kernel.patches) == (1, 4)


def test_gates_and_masks_on_a_pooled_grid() -> None:
    """Token gates count the tokens of their block; masks have the smaller grid's distances."""
    gate = Gate(axis=GateAxis.TOKEN, kept=(0, 3))
    heads = ((AttentionKind.RELU_SOFTMAX,) * 2,) * 3
    config = varied(BASE, heads=heads, reduction=(None, pool(4), None), gate=(None, None, gate), gmm=1)
    model = make_model(config)
    assert model(make_images(config, 2)).shape == (2, 3)
    blocks = [cast(Block, block) for block in model.blocks]
    assert [block.attn.mask().shape[-1] for block in blocks if block.attn.mask is not None] == [16, 4, 4]
    assert blocks[2].mlp.gate is not None
    assert [block.attn.lepe.side for block in blocks if block.attn.lepe is not None] == [4, 2, 2]


def test_round_trip_and_older_documents() -> None:
    """What is written is read back; documents without the field mean no reduction; wrong ones are ConfigErrors."""
    config = varied(BASE, reduction=(pool(4), None, spvit(2)))
    assert from_document(ViTConfig, to_document(config)) == config
    document = to_document(BASE)
    for block in document["blocks"]:
        del block["reduction"]
    assert from_document(ViTConfig, document) == BASE
    first, *others = document["blocks"]
    for wrong in (
        {"kind": "tome", "keep": 3},
        {"kind": "evit"},
        {"kind": "evit", "keep": 0},
        {"kind": "evit", "keep": 1.5},
    ):
        with pytest.raises(ConfigError):
            from_document(ViTConfig, {**document, "blocks": [{**first, "reduction": wrong}, *others]})


@pytest.mark.parametrize("class_token", [False, True])
def test_evit_keeps_what_the_reader_attends_to(class_token: bool) -> None:
    """Token by token: the sum over heads of the reader's scores decides; the rest becomes its mean, at the end."""
    config = varied(BASE, class_token=class_token, reduction=(evit(6), None, None))
    own, model = int(class_token), make_model(config).double()
    with torch.no_grad():
        _, out = model.intermediates(make_images(config, 3).double())
        block = cast(Block, model.blocks[0])
        normed = block.norm1(out["embed"])
        stream = out["embed"] + out["block0.attn"]
        weight, bias = block.attn.qkv.weight, block.attn.qkv.bias
        for image in range(3):
            q, k = (normed[image] @ weight[s].T + bias[s] for s in (slice(0, 12), slice(12, 24)))
            reader = q[0] if class_token else q.mean(0)
            # heads are columns of q and k side by side, so the sum of their scores is one product
            order = sorted(range(own, 16 + own), key=lambda j: -float(reader @ k[j]))
            kept, dropped = [*range(own), *order[: 6 - own]], order[6 - own :]
            got = out["block0.reduced"][image]
            assert torch.allclose(got[:6], stream[image][kept])
            assert torch.allclose(got[6], stream[image][dropped].mean(0))


def test_equal_scores_keep_their_order() -> None:
    """Among equal tokens the first are kept, as under MPC."""
    x = torch.arange(5.0).reshape(1, 5, 1)
    q, k = torch.ones(1, 1, 5, 1), torch.tensor([1.0, 2, 1, 2, 1]).reshape(1, 1, 5, 1)
    before, after = (Tokens(count=count, own=0, side=None) for count in (5, 4))
    got = EvitReduction(1, before, after)(x, q, k)
    assert got.flatten().tolist() == [1, 3, 0, 3]


def test_window_pool_is_average_pooling() -> None:
    """Like torch's, the class token apart."""
    x = torch.randn(2, 37, 5)
    before, after = (Tokens(count=side**2 + 1, own=1, side=side) for side in (6, 2))
    got = WindowPoolReduction(5, before, after)(x)
    grid = x[:, 1:].reshape(2, 6, 6, 5).permute(0, 3, 1, 2)
    assert torch.equal(got[:, :1], x[:, :1])
    assert torch.allclose(got[:, 1:], nn.functional.avg_pool2d(grid, 3).flatten(2).mT, atol=1e-6)


def make_selector(tokens: Tokens, keep: int, dim: int = 16) -> SpvitReduction:
    """A selector with a norm that does something."""
    torch.manual_seed(4)
    selector = SpvitReduction(dim, tokens, replace(tokens, count=keep + 1))
    with torch.no_grad():
        selector.norm.weight.normal_()
        selector.norm.bias.normal_()
    return selector


def test_selector_reads_the_token_and_the_mean() -> None:
    """A logit is that of an MLP on the token's half and the mean over tokens of the other half."""
    selector, x = make_selector(Tokens(count=7, own=0, side=None), 4).double(), torch.randn(1, 7, 16).double()
    with torch.no_grad():
        h = nn.functional.gelu(
            selector.embed(nn.functional.layer_norm(x, (16,), selector.norm.weight, selector.norm.bias, 1e-4))
        )
        for token in range(7):
            both = torch.cat([h[0, token, :2], h[0, :, 2:].mean(0)])
            logit = selector.score(nn.functional.gelu(selector.mix(both)))
            assert torch.allclose(selector.logits(x)[0, token], logit)


def test_selector_in_use_keeps_the_largest_logits() -> None:
    """Deterministic, the class token first and not scored, the package last."""
    selector, x = make_selector(Tokens(count=8, own=1, side=None), 4).eval(), torch.randn(2, 8, 16)
    with torch.no_grad():
        got, logits = selector(x), selector.logits(x[:, 1:])
        assert torch.equal(got, selector(x))
    for image in range(2):
        order = logits[image].argsort(descending=True)
        assert torch.equal(got[image, 0], x[image, 0])
        assert torch.equal(got[image, 1:4], x[image, 1:][order[:3]])
        assert torch.allclose(got[image, 4], x[image, 1:][order[3:]].mean(0), atol=1e-6)


def test_selector_in_training_samples_and_learns() -> None:
    """Same shapes as in use, whole tokens kept, other ones from draw to draw, and a gradient for every parameter."""
    selector, x = make_selector(Tokens(count=8, own=1, side=None), 4).train(), torch.randn(2, 8, 16)
    torch.manual_seed(0)
    draws = [selector(x) for _ in range(8)]
    assert {tuple(draw.shape) for draw in draws} == {(2, 5, 16)}
    assert any(not torch.equal(draw, draws[0]) for draw in draws)
    for draw in draws:
        for image in range(2):
            places = [int((x[image] - token).abs().sum(-1).argmin()) for token in draw[image, :4]]
            assert torch.allclose(draw[image, :4], x[image][places], atol=1e-6)
            dropped = [token for token in range(8) if token not in places]
            assert len(dropped) == 4
            assert torch.allclose(draw[image, 4], x[image][dropped].mean(0), atol=1e-6)
    draws[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in selector.parameters())


def test_selector_s_gradient_goes_straight_through() -> None:
    """A kept token counts as its chance times itself, a dropped one as the rest of the chance in the package."""
    selector, x = make_selector(Tokens(count=5, own=0, side=None), 2).double().train(), torch.randn(1, 5, 16).double()
    weight = torch.randn(3, 16).double()
    torch.manual_seed(1)
    loss = (selector(x.requires_grad_())[0] * weight).sum()
    *got, stream = torch.autograd.grad(loss, [*selector.parameters(), x])
    torch.manual_seed(1)
    noise = -torch.empty(1, 5).double().exponential_().log()
    logits = selector.logits(x)
    order = (logits + noise)[0].argsort(descending=True)
    chance = logits[0].sigmoid()
    benefit = x[0] @ weight.T  # of every token in every place
    kept = sum(chance[token] * benefit[token, place] for place, token in enumerate(order[:2]))
    package = sum((1 - chance[token]) * benefit[token, 2] for token in order[2:]) / 3
    expected = torch.autograd.grad(kept + package, list(selector.parameters()))
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other)
    assert torch.allclose(stream[0, order], torch.stack([*weight[:2], *[weight[2] / 3] * 3]))  # of what is moved alone


@pytest.mark.parametrize("reductions", [(evit(6), None, None), (spvit(6), None, evit(3)), (pool(4), None, None)])
def test_reduced_models_train(reductions: tuple[Reduction | None, ...]) -> None:
    """Gradients reach every parameter."""
    model = make_model(varied(BASE, reduction=reductions)).train()
    model(make_images(BASE, 4)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_unreduced_models_are_what_they_were() -> None:
    """No new parameters, no new intermediates."""
    model = VisionTransformer(BASE)
    assert not [name for name in model.state_dict() if "entry" in name or "select" in name]
    _, out = model.intermediates(make_images(BASE, 1))
    assert not [name for name in out if "reduced" in name]


@pytest.mark.parametrize("class_token", [False, True])
def test_evit_by_attention_is_the_source_s(class_token: bool) -> None:
    """Tokens by the mean of heads' softmaxed scores; the fused one is the sum of the dropped, weighted, not divided."""
    own = int(class_token)
    reduction = replace(evit(6), ranking=Ranking.ATTENTION)
    config = varied(BASE, class_token=class_token, lepe=0, reduction=(reduction, None, None))
    model, images = make_model(config), make_images(config, 3)
    block = cast(Block, model.blocks[0])
    with torch.no_grad():
        _, out = model.intermediates(images)
        queries, keys, _ = block.attn.heads(block.norm1(out["embed"]))
        stream = out["embed"] + out["block0.attn"]
    for picture in range(3):
        total = torch.zeros(config.tokens)
        for head in range(2):
            reader = queries[picture, head, 0] if class_token else queries[picture, head].mean(0)
            exponentials = torch.exp(keys[picture, head] @ reader)
            total += exponentials / exponentials.sum() / 2
        weights, tokens = total[own:], stream[picture, own:]
        order = sorted(range(16), key=lambda token: -float(weights[token]))
        kept, dropped = order[: 6 - own], order[6 - own :]
        fused = sum(weights[token] * tokens[token] for token in dropped)
        got = out["block0.reduced"][picture]
        assert torch.allclose(got[own:-1], tokens[kept], atol=1e-5)
        assert torch.allclose(got[-1], fused, atol=1e-5)


def test_gradients_reach_queries_through_fused_tokens() -> None:
    """By attention they do, as in the source; by products the order alone counts."""
    for ranking, reaches in ((Ranking.ATTENTION, True), (Ranking.PRODUCTS, False)):
        reduction = EvitReduction(12, BASE.input_tokens, BASE.input_tokens.reduced(evit(6)))
        reduction.ranking = ranking
        queries = torch.randn(2, 2, 16, 6, requires_grad=True)
        tokens = torch.randn(2, 16, 12, requires_grad=True)
        reduction(tokens, queries, torch.randn(2, 2, 16, 6)).square().sum().backward()
        assert (queries.grad is not None) is reaches
        assert tokens.grad is not None
    with pytest.raises(ConfigError, match="ranking by attention in spvit"):
        replace(spvit(3), ranking=Ranking.ATTENTION)
