"""The ViT, its kinds, its configuration, its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.models import presets
from mpcvit.models.attention.relu_softmax import EPSILON, relu_softmax
from mpcvit.models.attention.scaling import scaling
from mpcvit.models.attention.softmax import softmax
from mpcvit.models.config import Activation, AttentionKind, ViTConfig
from mpcvit.models.files import load_model, save_model
from mpcvit.models.vit import VisionTransformer, patchify
from tests.conftest import TINY, make_images, make_model

prepare_torchvision()

from timm import create_model  # noqa: E402


def _qkv() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)


def test_softmax_is_attention() -> None:
    """The softmax kernel is torch's scaled-dot-product attention with scale 1."""
    q, k, v = _qkv()
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    assert torch.allclose(softmax(q, k, v), expected, atol=1e-6)


def test_relu_softmax_rows_are_weights() -> None:
    """With ones as values every row gives sum / (sum + epsilon): weights add to just below one."""
    q, k, _ = _qkv()
    total = (q @ k.mT).relu().sum(-1)
    got = relu_softmax(q, k, torch.ones(2, 3, 5, 4))
    assert torch.allclose(got, (total / (total + EPSILON))[..., None].expand_as(got), atol=1e-6)


def test_scaling_is_associative() -> None:
    """The linear form equals the product with the score matrix divided by the number of keys."""
    q, k, v = _qkv()
    assert torch.allclose(scaling(q, k, v), (q @ k.mT / 5) @ v, atol=1e-6)


def test_heads_of_one_block_are_independent() -> None:
    """A block of mixed kinds computes for each head what a block of that kind alone computes."""
    mixed = make_model(replace(TINY, heads=((AttentionKind.SCALING, AttentionKind.SOFTMAX),)))
    x = torch.randn(2, 4, 16)
    outputs = {}
    for kind in AttentionKind:
        mixed.blocks[0].attn.kinds = (kind, kind)
        outputs[kind] = _heads(mixed, x)
    mixed.blocks[0].attn.kinds = (AttentionKind.SCALING, AttentionKind.SOFTMAX)
    got = _heads(mixed, x)
    assert torch.allclose(got[..., :8], outputs[AttentionKind.SCALING][..., :8], atol=1e-6)
    assert torch.allclose(got[..., 8:], outputs[AttentionKind.SOFTMAX][..., 8:], atol=1e-6)


def _heads(model: VisionTransformer, x: torch.Tensor) -> torch.Tensor:
    """What the output projection of the first block reads."""
    seen = []
    handle = model.blocks[0].attn.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.blocks[0].attn(x)
    handle.remove()
    return seen[0]


def test_intermediates_by_name() -> None:
    """Every block's results are there under the names that a Program uses."""
    model = make_model(TINY)
    logits, out = model.intermediates(make_images(TINY, 2))
    assert set(out) == {"embed", "block0.attn", "block0.mlp", "block0", "pooled", "logits"}
    assert torch.equal(out["block0"], out["embed"] + out["block0.attn"] + out["block0.mlp"])
    assert torch.equal(logits, model(make_images(TINY, 2)))


def test_patchify_puts_channels_first_in_each_patch() -> None:
    """Token n holds patch n in reading order, one channel after the other."""
    image = torch.arange(3 * 8 * 8.0).reshape(1, 3, 8, 8)
    tokens = patchify(image, 4)
    assert tokens.shape == (1, 4, 48)
    assert torch.equal(tokens[0, 1].reshape(3, 4, 4), image[0, :, :4, 4:])


def test_timm_builds_the_presets() -> None:
    """Presets are timm models; keyword arguments replace fields, wrong ones are typed errors."""
    model = create_model("mpcvit_6_4_32", num_classes=7, drop_path_rate=0.1)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert presets.mpcvit_7_4_32(dim=64).config.dim == 64
    with pytest.raises(ConfigError, match=r"mpcvit\.models\.files"):
        create_model("mpcvit_6_4_32", pretrained=True)
    with pytest.raises(ConfigError, match="ViTConfig"):
        create_model("mpcvit_6_4_32", colour="red")


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 9},
        {"dim": 15},
        {"heads": ()},
        {"heads": ((AttentionKind.SOFTMAX,), (AttentionKind.SOFTMAX,) * 2)},
        {"activations": ()},
        {"classes": 0},
        {"patch_size": 0},
    ],
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    """Sizes that do not fit together are ConfigErrors."""
    with pytest.raises(ConfigError):
        replace(TINY, **change)


def test_configuration_round_trip() -> None:
    """to_json and from_json are inverse; unknown kinds are ConfigErrors."""
    assert ViTConfig.from_json(TINY.to_json()) == TINY
    document = TINY.to_json()
    document["activations"] = ["swish"]
    with pytest.raises(ConfigError, match="swish"):
        ViTConfig.from_json(document)
    with pytest.raises(ConfigError):
        ViTConfig.from_json({"dim": 3})


def test_model_files_round_trip(tmp_path: Path) -> None:
    """A saved model computes the same; damaged files are typed errors."""
    model = make_model(TINY)
    save_model(model, tmp_path)
    images = make_images(TINY, 2)
    assert torch.equal(load_model(tmp_path)(images), model(images))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelFileError):
        load_model(tmp_path)
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "missing")


@pytest.mark.parametrize("activation", list(Activation))
def test_every_activation_trains(activation: Activation) -> None:
    """Gradients reach every parameter."""
    model = make_model(replace(TINY, activations=(activation,))).train()
    model(make_images(TINY, 2)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
