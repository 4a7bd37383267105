"""Every ATen op that has a lowering, in a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from mpcvit.errors import ConfigError
from mpcvit.export.traced.ops import LOWERINGS
from tests.support.traced import Function, difference, enlivened, exported

SIZE = 8
#: A grid [1, 4, 4, 4], or 16 tokens [1, 16, 8], behind a convolution.
GRID, TOKENS = (4, 4, 4), (16, 8)

Tensors = Callable[[torch.Tensor], torch.Tensor]


def _windows(x: torch.Tensor) -> torch.Tensor:
    tiles = x.view(1, 4, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 4)
    back = tiles.reshape(2, 2, 2, 2, 4).permute(4, 0, 2, 1, 3).reshape(1, 4, 4, 4)
    return torch.roll(back, (1, -1), (2, 3))


def _channel_attention(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(functional.adaptive_avg_pool2d(x, 1))


#: Functions of a grid [1, 4, 4, 4].
ON_GRIDS: dict[str, Tensors] = {
    "add of itself": lambda x: x + x.flip(3),
    "add of a number": lambda x: 1.5 + x - 0.25,
    "average pool": lambda x: functional.avg_pool2d(x, 2),
    "average pool with overlap": lambda x: functional.avg_pool2d(x, 3, 2, 1),
    "average pool without padding": lambda x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "adaptive average pool": lambda x: functional.adaptive_avg_pool2d(x, 2),
    "cat and stack": lambda x: torch.stack([torch.cat([x, torch.ones(1, 1, 4, 4)], 1), x.repeat(1, 2, 1, 1)[:, :5]]),
    "channel attention": _channel_attention,
    "chunk and split": lambda x: x.chunk(2, 1)[1] * x.split([1, 2, 1], 1)[1],
    "clamp": lambda x: x.clamp(-0.5, 0.75),
    "constant index": lambda x: x[:, :, torch.tensor([3, 0, 1])],
    "division": lambda x: x / 3.0,
    "elu": functional.elu,
    "exp": lambda x: torch.exp(x.clamp(-3, 1)),
    "gelu": functional.gelu,
    "gelu of large numbers": lambda x: functional.gelu(60 * x),
    "sigmoid of large numbers": lambda x: torch.sigmoid(80 * x),
    "gelu by tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "group norm": lambda x: functional.group_norm(x, 1),
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "largest over axes": lambda x: x.amax((1, 3)),
    "largest of all": lambda x: x.amax() * x,
    "layer norm over all": lambda x: functional.layer_norm(x, [4, 4, 4]),
    "leaky relu": lambda x: functional.leaky_relu(x, 0.1),
    "max pool": lambda x: functional.max_pool2d(x, 2),
    "max pool with overlap": lambda x: functional.max_pool2d(x, 3, 2, 1),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "mish": functional.mish,
    "pad": lambda x: functional.pad(x, (1, 2, 0, 1)),
    "product": lambda x: x * x.transpose(2, 3),
    "relu": lambda x: functional.relu(x, inplace=True),
    "relu6": functional.relu6,
    "repeat interleave": lambda x: x[:, :1].repeat_interleave(2, 1).repeat_interleave(2, 3),
    "resampled, bicubic": lambda x: functional.interpolate(x, (3, 6), mode="bicubic"),
    "resampled, bilinear": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    "resampled, nearest": lambda x: functional.interpolate(x, scale_factor=2),
    "select and unbind": lambda x: x.select(1, -1) - x.unbind(1)[1],
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "slices with steps": lambda x: torch.cat([x[:, :, 0::2, 1::2], x[:, :, 1::2, ::2]], 1),
    "softplus": functional.softplus,
    "square": lambda x: x**2,
    "sum": lambda x: 1 - x.sum(1),
    "tanh": torch.tanh,
    "unsqueeze and expand": lambda x: x.unsqueeze(1).expand(1, 2, 4, 4, 4) * -1.0,
    "windows and shifts": _windows,
}

#: Functions of tokens [1, 16, 8], and a second one's layers.
ON_TOKENS: dict[str, Tensors] = {
    "attention": lambda x: functional.scaled_dot_product_attention(x, x.flip(1), x),
    "attention with a mask": lambda x: functional.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.ones(16, 16).tril().bool(), scale=0.5
    ),
    "cosine attention": lambda x: functional.normalize(x, dim=2) @ functional.normalize(x, dim=2).transpose(1, 2),
    "division by lengths": lambda x: x / torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "matmul of a constant": lambda x: torch.linspace(-1, 1, 64).view(4, 16) @ x @ torch.eye(8)[:, :3],
    "norm over channels": lambda x: functional.layer_norm(x, [8]),
    "norm, mean over tokens": lambda x: functional.layer_norm(x, [8]).mean(1),
    "norm, mean over tokens that no layer reads": lambda x: 2.0 * functional.layer_norm(x, [8]).mean(1),
    "norm, moved rows": lambda x: (
        torch.roll(functional.layer_norm(x, [8]), 3, 1).view(1, 4, 4, 8)[:, 1:3].flatten(1, 2)
    ),
    "softmax over channels": lambda x: (0.25 * x).softmax(-1),
    "softmax over tokens": lambda x: x.softmax(1).transpose(1, 2) @ x,
    "softmax, mixed": lambda x: (x @ x.transpose(1, 2) * 0.3).softmax(-1) @ x,
}

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "batch norm before a layer": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)),
    "batch norm behind a layer": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "depthwise convolution": lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "grouped convolution": lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False),
    "large border": lambda: nn.Conv2d(4, 2, 1, padding=1),
}


def _module(on: tuple[int, ...], function: Tensors | None, **layers: nn.Module) -> nn.Module:
    """Pictures, a convolution, the function or ``layer``, and a linear layer on all that it gives."""
    width = 4 if on == GRID else 8
    stem = nn.Conv2d(3, width, 2, 2)

    def features(module: Any, x: torch.Tensor) -> torch.Tensor:
        y = module.stem(x)
        y = y if on == GRID else y.flatten(2).transpose(1, 2)
        return (module.layer if function is None else function)(y).flatten()[None]

    count = features(Function(features, stem=stem, **layers), torch.zeros(1, 3, SIZE, SIZE)).shape[1]
    whole = Function(lambda m, x: m.head(features(m, x)), stem=stem, head=nn.Linear(count, 3), **layers)
    return enlivened(whole)


@pytest.mark.parametrize("name", ON_GRIDS)
def test_an_op_on_a_grid_gives_what_torch_gives(name: str) -> None:
    """In real arithmetic exactly, on integers nearly."""
    module = _module(GRID, ON_GRIDS[name])
    found = exported(module, SIZE, allow_calibrated=True)
    assert found.fidelity < 1e-4
    assert difference(module, found, SIZE) < 0.05


@pytest.mark.parametrize("name", ON_TOKENS)
def test_an_op_on_tokens_gives_what_torch_gives(name: str) -> None:
    """In real arithmetic exactly, on integers nearly."""
    module = _module(TOKENS, ON_TOKENS[name])
    found = exported(module, SIZE, allow_calibrated=True)
    assert found.fidelity < 1e-4
    assert difference(module, found, SIZE) < 0.05


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_on_a_grid_gives_what_torch_gives(name: str) -> None:
    """In real arithmetic exactly, on integers nearly; every range is proven."""
    layer = LAYERS[name]().eval()
    module = _module(GRID, None, layer=layer)
    found = exported(module, SIZE)
    assert found.fidelity < 1e-4
    assert difference(module, found, SIZE) < 0.02


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (lambda x: torch.sort(x)[0], r"module 'the outermost', the op sort\(input=\[1, 4, 4, 4\]"),
        (lambda x: x / (1 + x.square()), r"the op div\(input=\[1, 4, 4, 4\], other=\[1, 4, 4, 4\]\)"),
        (lambda x: functional.avg_pool2d(x, (2, 1)), r"the op avg_pool2d\(.*kernel_size=\[2, 1\]"),
        (lambda x: functional.group_norm(x, 2), r"the op group_norm\(.*num_groups=2"),
        (lambda x: x.flatten()[x.flatten().argsort()], r"the op (argsort|sort)"),
        (lambda x: functional.elu(x, 2.0), r"the op elu\(.*alpha=2.0"),
        (lambda x: functional.softplus(x, 2.0), r"the op softplus\(.*beta=2.0"),
        (lambda x: x.clamp(torch.zeros(4), torch.ones(4)), r"the op clamp"),
        (lambda x: torch.roll(x, 1), r"the op roll"),
    ],
)
def test_what_has_no_lowering_is_named(function: Tensors, shown: str) -> None:
    """The module, the op and its shapes; and what is supported."""
    with pytest.raises(ConfigError, match=shown) as found:
        exported(_module(GRID, function), SIZE)
    assert "expected" in str(found.value)


def test_the_module_of_an_op_without_lowering_is_named() -> None:
    class Median(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.median(1)[0]

    inner = nn.Sequential(nn.ReLU(), Median())
    with pytest.raises(ConfigError, match=r"module 'layer\.1', the op median"):
        exported(_module(GRID, None, layer=inner), SIZE)


def test_every_op_has_one_lowering() -> None:
    names = [op for lowering in set(LOWERINGS.values()) for op in lowering.ops]
    assert len(names) == len(set(names)) == len(LOWERINGS)
