"""The ViT, its kinds, its configuration, its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.models import presets
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.random_weights import enliven, noise
from mpcvit.models.sizes import deit
from mpcvit.models.vit import VisionTransformer, patchify
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import load_model, save_model
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.models import TINY, make_model

prepare_torchvision()

from timm import create_model  # noqa: E402


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
    with pytest.raises(ConfigError, match=r"mpcvit\.store\.trained"):
        create_model("mpcvit_6_4_32", pretrained=True)
    with pytest.raises(ConfigError, match="ViTConfig"):
        create_model("mpcvit_6_4_32", colour="red")


def test_presets_have_published_sizes() -> None:
    """DeiT's numbers of parameters (timm's deit_*_patch16_224), and MPCViT's size for Tiny-ImageNet."""
    assert sum(p.numel() for p in create_model("deit_tiny").parameters()) == 5_717_416
    assert sum(p.numel() for p in create_model("deit_small").parameters()) == 22_050_664
    one_block = presets.deit_base(blocks=deit(dim=768, head_count=12).blocks[:1])
    assert sum(p.numel() for p in one_block.parameters()) == 86_567_656 - 11 * 7_087_872
    config = create_model("mpcvit_9_12_64").config
    assert (config.depth, config.head_dim, config.patches) == (9, 16, 256)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 9},
        {"dim": 15},
        {"blocks": ()},
        {"blocks": (replace(TINY.blocks[0], heads=()),)},
        {"blocks": (TINY.blocks[0], replace(TINY.blocks[0], heads=(AttentionKind.SOFTMAX,)))},
        {"classes": 0},
        {"patch_size": 0},
    ],
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    """Sizes that do not fit together are ConfigErrors."""
    with pytest.raises(ConfigError):
        replace(TINY, **change)


def test_uniform_models_repeat_one_block() -> None:
    """As many blocks and heads as asked for, all alike; the other fields are those given, and are checked."""
    fields = {"image_size": 8, "patch_size": 4, "classes": 3, "dim": 16, "lepe": 4}
    config = ViTConfig.uniform(AttentionKind.SQUARE, Activation.QUAD, depth=2, head_count=4, hidden=24, **fields)
    assert column(config, "hidden") == (24, 24)
    square = AttentionKind.SQUARE
    assert column(config, "heads") == ((square, square, square, square), (square, square, square, square))
    assert column(config, "activation") == (Activation.QUAD, Activation.QUAD)
    assert {name: getattr(config, name) for name in fields} == fields
    with pytest.raises(ConfigError, match="dim 16 for 3 heads"):
        ViTConfig.uniform(AttentionKind.SQUARE, Activation.QUAD, depth=2, head_count=3, hidden=24, **fields)


def test_lively_weights_make_scores_of_ordinary_size() -> None:
    """On normalised tokens scores deviate by about 2 and values by about 1; biases and norms stay as they were."""
    config = ViTConfig.uniform(
        AttentionKind.SOFTMAX,
        Activation.GELU,
        depth=1,
        head_count=2,
        image_size=8,
        patch_size=4,
        classes=3,
        dim=64,
        hidden=128,
        class_token=True,
    )
    torch.manual_seed(0)
    model = VisionTransformer(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor.ndim == 1}
    enliven(model)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    with torch.no_grad():
        q, k, v = model.blocks[0].attn.qkv(torch.randn(500, 64)).split(64, dim=1)
        scores = q[:, :32] @ k[:, :32].T / 32**0.5
    assert float(scores.std()) == pytest.approx(2.0, rel=0.15)
    assert float(v.std()) == pytest.approx(1.0, rel=0.1)
    assert float(model.pos_embed.detach().std()) == pytest.approx(0.5, rel=0.15)
    pictures = noise(config, 50)
    assert pictures.shape == (50, 3, 8, 8)
    assert (float(pictures.min()), float(pictures.max())) == (-2.0, 2.0)


def test_configuration_round_trip() -> None:
    """to_document and from_document are inverse; unknown kinds are ConfigErrors."""
    assert from_document(ViTConfig, to_document(TINY)) == TINY
    document = to_document(TINY)
    document["blocks"][0]["activation"] = "swish"
    with pytest.raises(ConfigError, match="swish"):
        from_document(ViTConfig, document)
    with pytest.raises(ConfigError):
        from_document(ViTConfig, {"dim": 3})


def test_model_files_round_trip(tmp_path: Path) -> None:
    """A saved model computes the same; damaged files are typed errors."""
    model = make_model(TINY)
    save_model(model, tmp_path)
    images = make_images(TINY, 2)
    assert torch.equal(load_model(tmp_path)(images), model(images))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelFileError):
        load_model(tmp_path)
    with pytest.raises(ModelFileError, match=r"No such file or directory \(config\.json\)"):
        load_model(tmp_path / "missing")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelFileError, match="reading the model"):
        load_model(tmp_path)


def test_wrapped_and_half_precision_weights_are_loaded(tmp_path: Path) -> None:
    """Of a folder, too: prefixes of wrappers go, halves become float32."""
    model = make_model(TINY)
    save_model(model, tmp_path)
    state = {f"module.{name}": tensor.half() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    loaded, images = load_model(tmp_path), make_images(TINY, 2)
    assert torch.allclose(loaded(images), model(images), atol=0.05)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("head.weight", lambda tensor: tensor * torch.nan, r"NaN or infinite .*: head\.weight"),
        ("head.weight", lambda tensor: tensor * 0, r"all zero .*: head\.weight"),
        ("head.weight", lambda tensor: tensor[:2].clone(), r"head\.weight is \[2, 16\] instead of \[3, 16\]"),
        ("head.weight", lambda tensor: tensor.to(torch.int8), r"head\.weight is int8 instead of float32"),
        ("head.weight", None, r"Missing keys: head\.weight;"),
        ("patch_embed.weight", lambda tensor: tensor[:, :16].clone(), r"patch_embed\.weight is \[16, 16\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor] | None, message: str
) -> None:
    """The error says which tensor, and how it differs."""
    model = make_model(TINY)
    save_model(model, tmp_path)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    tensor = state.pop(name)
    if change is not None:
        state[name] = change(tensor)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match=message):
        load_model(tmp_path)


def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that cannot be written whole do not take the place of those that are there."""
    model = make_model(TINY)
    save_model(model, tmp_path)

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mpcvit.store.trained.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_model(make_model(TINY, seed=1), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    images = make_images(TINY, 2)
    assert torch.equal(load_model(tmp_path)(images), model(images))


@pytest.mark.parametrize("activation", list(Activation))
def test_every_activation_trains(activation: Activation) -> None:
    """Gradients reach every parameter."""
    model = make_model(varied(TINY, activation=(activation,))).train()
    model(make_images(TINY, 2)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("kind", list(AttentionKind))
def test_every_attention_kind_trains_in_bfloat16(kind: AttentionKind) -> None:
    """Under autocast, as training does where the machine multiplies bfloat16: close to float32, gradients in it."""
    model = make_model(varied(TINY, heads=((kind,) * len(column(TINY, "heads")[0]),), pooled_side=1)).train()
    images = make_images(TINY, 2)
    exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()
    logits.float().square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)
