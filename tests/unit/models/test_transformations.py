"""Mixtures of heads and convolutions that tell blocks apart: formulas, what they fit, what folding makes of them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d

from mpcvit.errors import ConfigError
from mpcvit.export.affine import Affine
from mpcvit.export.fold_transformations import own_input
from mpcvit.models.kinds import AttentionKind, ReductionKind
from mpcvit.models.norm import LayerNorm
from mpcvit.models.token_flow import Reduction, Tokens
from mpcvit.models.transformations import HeadMixing, PatchConvolution, Transformations
from mpcvit.models.vit import Attention
from tests.support.columns import varied
from tests.support.mlp_variants import BASE

OWN = Transformations()


def test_heads_mix_before_and_after_the_softmax() -> None:
    """A = after softmax(before S): the source's formula, with H x H matrices over all pairs of tokens."""
    torch.manual_seed(0)
    heads, width = 3, 4
    config = varied(BASE, heads=((AttentionKind.SOFTMAX,) * heads,) * 2, dim=heads * width)
    attention = Attention(config, config.blocks[0].heads, transformations=OWN).double()
    mixing = attention.mixing
    with torch.no_grad():
        mixing.before.copy_(torch.randn(heads, heads))
        mixing.after.copy_(torch.randn(heads, heads))
        q, k, v = torch.randn(3, 2, heads, 9, width, dtype=torch.float64)
        scores = torch.einsum("hi,binm->bhnm", mixing.before, q @ k.mT)
        weights = torch.einsum("hi,binm->bhnm", mixing.after, scores.softmax(-1))
        expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
        assert torch.allclose(attention.mix(q, k, v), expected)


def test_mixing_begins_as_nothing() -> None:
    """The identity: wide heads joined are the heads."""
    q, k, v = torch.randn(3, 1, 2, 5, 3)
    mixing = HeadMixing(2)
    wide_q, wide_k, wide_v = mixing.widen(q, k, v)
    assert torch.allclose(wide_q @ wide_k.mT, q @ k.mT, atol=1e-6)
    assert torch.allclose(mixing.join(wide_v), v)


def test_patches_get_their_neighbours_part() -> None:
    """x + DWConv(x) on the grid; a class token stays."""
    torch.manual_seed(0)
    convolution = PatchConvolution(2, 3, Tokens(count=10, own=1, side=3))
    x = torch.randn(1, 10, 2)
    with torch.no_grad():
        assert torch.equal(convolution(x), x)
        convolution.weight.normal_()
        grid = x[:, 1:].reshape(1, 3, 3, 2).permute(0, 3, 1, 2)
        there = grid + conv2d(grid, convolution.weight, padding=1, groups=2)
        result = convolution(x)
    assert torch.equal(result[:, 0], x[:, 0])
    assert torch.allclose(result[:, 1:], there.flatten(2).mT, atol=1e-6)


@torch.no_grad()
def test_folding_keeps_gain_and_bias_out_of_the_matrix() -> None:
    """Taps and offsets are the norm's gain and bias and the convolution, border included; the matrix is untouched."""
    torch.manual_seed(0)
    norm, convolution = LayerNorm(4).double(), PatchConvolution(4, 3, Tokens(count=10, own=1, side=3)).double()
    for parameter in (*norm.parameters(), convolution.weight):
        parameter.normal_()
    layer = Affine(torch.randn(4, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64))
    own, behind = own_input(norm, layer, convolution)
    assert behind is layer
    x = torch.randn(1, 10, 4, dtype=torch.float64)
    plain = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    expected = convolution(norm(x))
    assert torch.allclose(plain[:, :1] * own.gain + own.bias, expected[:, :1])
    grid = plain[:, 1:].mT.reshape(1, 4, 3, 3)
    filters = own.convolution.taps.T.reshape(4, 1, 3, 3)
    there = conv2d(grid, filters, padding=1, groups=4).flatten(2).mT + own.convolution.offsets
    assert torch.allclose(there, expected[:, 1:])


WRONG = {
    "kinds": ({"heads": ((AttentionKind.SCALING, AttentionKind.SQUARE),) * 2}, "mixtures of scaling, square heads"),
    "no scores": ({"heads": ((AttentionKind.LINEAR_RELU,) * 2,) * 2}, "mixtures of linear_relu"),
    "no grid": (
        {"reduction": (Reduction(kind=ReductionKind.SPVIT, keep=5), None)},
        "a convolution in block 0, where tokens have been selected",
    ),
    "one of a group": ({"owners": (0, 0), "transformations": (OWN, None)}, "different blocks 0 and 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str) -> None:
    """Each message says what and where."""
    change, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        varied(BASE, **{"transformations": (OWN, OWN), **change})
    with pytest.raises(ConfigError, match="side 2"):
        Transformations(convolution=2)
