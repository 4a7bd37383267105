"""timm's Vision Transformers as ours: the same logits; what has no counterpart is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation
from mpcvit.models.timm_import import from_timm, import_timm
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.trained import load_model, save_model
from tests.support.columns import column
from tests.support.images import pixel_codes

prepare_torchvision()

from timm import create_model  # noqa: E402
from timm.layers import SwiGLU  # noqa: E402

SIZES = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
#: Largest difference of logits of about 1 in float64.
ROUNDING = 1e-12

State = dict[str, torch.Tensor]


def make_timm(name: str = "vit_tiny_patch16_224", **options: Any) -> nn.Module:
    """A small model of timm's in which every parameter matters, float64, in eval mode."""
    torch.manual_seed(0)
    model: nn.Module = create_model(name, **{**SIZES, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.double().eval()


def make_pictures(count: int = 8) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, 32, 32).clamp(-2, 2)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {}),
        ("deit_tiny_patch16_224", {}),
        ("vit_base_patch32_384", {"patch_size": 16, "mlp_ratio": 2}),
        ("vit_tiny_patch16_224", {"fc_norm": True}),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"act_layer": "relu", "in_chans": 3}),
    ],
)
def test_logits_are_timm_s(name: str, options: dict[str, Any]) -> None:
    """In float64 both models differ by rounding only."""
    source, images = make_timm(name, **options), make_pictures().double()
    model = from_timm(source)
    with torch.no_grad():
        assert (model(images) - source(images)).abs().max() < ROUNDING
        assert source(images).std(0).min() > 0.01  # pictures make a difference
    assert model.config.class_token == options.get("class_token", True)
    assert set(column(model.config, "activation")) == {Activation.RELU if "act_layer" in options else Activation.GELU}


def test_epsilon_is_timm_s(tmp_path: Path) -> None:
    """A class token with values about 0.02, as timm begins with, notices 1e-4 instead of 1e-6; files keep it."""
    source, images = create_model("vit_tiny_patch16_224", **SIZES).double().eval(), make_pictures().double()
    model = from_timm(source)
    assert model.config.norm_epsilon == 1e-6
    save_model(model.float(), tmp_path)
    stored = load_model(tmp_path).double()
    coarse = from_timm(source)
    for norm in coarse.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.eps = ViTConfig.norm_epsilon
    with torch.no_grad():
        exact = source(images)
        assert (stored(images) - exact).abs().max() < 1e-6 * exact.abs().max()
        assert (coarse(images) - exact).abs().max() > 1e-3 * exact.abs().max()


def test_export_keeps_the_epsilon() -> None:
    """The Program computes the model's norms also where the stream's mean square is near the epsilon."""
    source, images = make_timm(depth=1), make_pictures()
    with torch.no_grad():
        for parameter in (source.pos_embed, source.cls_token, *source.patch_embed.parameters()):
            parameter.mul_(0.02)
    model = from_timm(source).float()
    exported = export_vit(model, images, Precision(tolerance=2.0**-8, relative=2.0**-8))
    assert exported.fidelity < 1e-6
    codes = pixel_codes(images)
    logits = decode(run_reference(exported.program, exported.weights, {"image": codes}), 12)
    with torch.no_grad():
        plain = model(images).numpy()
    assert np.abs(logits - plain).max() < 0.06 * plain.std()


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("deit_tiny_distilled_patch16_224", {}, "VisionTransformerDistilled"),
        ("deit3_small_patch16_224", {}, r"blocks\.0\.ls1 is LayerScale"),
        ("vit_tiny_patch16_224", {"no_embed_class": True}, "pos_embed is"),
        ("vit_tiny_patch16_224", {"init_values": 1e-5}, r"blocks\.0\.ls1 is LayerScale"),
        ("vit_tiny_patch16_224", {"qk_norm": True}, r"attn\.q_norm is LayerNorm"),
        ("vit_tiny_patch16_224", {"qkv_bias": False}, r"attn\.qkv\.bias is missing"),
        ("vit_tiny_patch16_224", {"scale_attn_norm": True}, r"attn\.norm is LayerNorm"),
        ("vit_tiny_patch16_224", {"mlp_layer": SwiGLU}, r"mlp is SwiGLU"),
        ("vit_tiny_patch16_224", {"act_layer": "quick_gelu"}, r"mlp\.act is QuickGELU"),
        ("vit_tiny_patch16_224", {"act_layer": "gelu_tanh"}, r"mlp\.act is GELUTanh"),
        ("vit_tiny_patch16_224", {"norm_layer": "rmsnorm"}, r"norm1 is RmsNorm"),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}, "reg_token is Parameter"),
        ("vit_tiny_patch16_224", {"pre_norm": True}, r"patch_embed\.proj\.bias is missing"),
        ("vit_tiny_patch16_224", {"pos_embed": "none"}, "pos_embed is missing"),
        ("vit_tiny_patch16_224", {"dynamic_img_size": True}, "dynamic_img_size"),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, "global_pool is avg"),
        ("vit_tiny_patch16_224", {"global_pool": "map"}, "attn_pool is AttentionPoolLatent"),
        ("vit_tiny_patch16_224", {"num_classes": 0}, "head is Identity"),
        ("vit_tiny_patch16_224", {"img_size": (32, 48)}, "picture or patch"),
        ("vit_base_patch16_gap_224", {}, "norm is LayerNorm instead of missing"),
    ],
)
def test_parts_without_counterpart_are_refused(name: str, options: dict[str, Any], part: str) -> None:
    """The error names the part that is in the way, and what there may be."""
    with pytest.raises(ConfigError, match=part) as error:
        from_timm(make_timm(name, **options))
    assert "VisionTransformer" in error.value.expected or "vit_" in error.value.expected


def test_windowed_attention_is_refused() -> None:
    """Another kind of model is refused as a whole."""
    small = create_model(
        "swin_tiny_patch4_window7_224", img_size=56, embed_dim=8, depths=(1, 1), num_heads=(1, 1), num_classes=3
    )
    with pytest.raises(ConfigError, match="SwinTransformer"):
        from_timm(small)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The model that ``vit_tiny_patch16_224`` stands for in this test, with the sizes that it is made with."""

    def make(name: str, **options: Any) -> nn.Module:
        return create_model(name, **{**SIZES, "num_classes": 1000, **options})

    monkeypatch.setattr("mpcvit.models.timm_import.create_model", make)
    return make_timm(num_classes=7)


def test_weights_come_from_a_file(named: nn.Module, tmp_path: Path) -> None:
    """A safetensors file with timm's names gives its logits and classes; the tag in the name, mean and deviation."""
    save_file({name: tensor.float() for name, tensor in named.state_dict().items()}, tmp_path / "w.safetensors")
    backbone = import_timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k", tmp_path / "w.safetensors")
    images = make_pictures()
    with torch.no_grad():
        assert torch.allclose(backbone.model(images), named.float()(images), atol=1e-5)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)  # of that tag's preprocessing
    prepared = backbone.prepare(Image.new("RGB", (100, 60), (255, 0, 127)))
    assert prepared.shape == (3, 32, 32)
    assert torch.allclose(prepared[:, 5, 5], torch.tensor([1.0, -1.0, 127 / 127.5 - 1]), atol=1e-6)


def test_random_weights_follow_torch_s_seed(named: nn.Module) -> None:
    """Without a file the weights are timm's first ones."""
    models = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        models.append(import_timm("deit_tiny_patch16_224", image_size=16, classes=4).model)
    first, same, other = (model.blocks[0].attn.qkv.weight for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert (models[0].config.image_size, models[0].config.classes) == (16, 4)


def test_wrong_files_and_names_are_refused(named: nn.Module, tmp_path: Path) -> None:
    """Every mistake says what to do."""
    with pytest.raises(ModelFileError, match=r"torch\.load\(FILE, weights_only=True\)"):
        import_timm("vit_tiny_patch16_224", tmp_path / "model.pth")
    with pytest.raises(ModelFileError, match="reading"):
        import_timm("vit_tiny_patch16_224", tmp_path / "missing.safetensors")
    save_file({"head.weight": torch.zeros(7, 24)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"another model than .* Missing key"):
        import_timm("vit_tiny_patch16_224", tmp_path / "w.safetensors")
    for start, remedy in (
        (b"PK\3\4", "Convert it: "),
        (b"version https://git-lfs", "git lfs pull"),
        (b"<html>", "Fetch"),
    ):
        (tmp_path / "w.safetensors").write_bytes(start)
        with pytest.raises(ModelFileError, match=f"SafetensorError reading .*{remedy}"):
            import_timm("vit_tiny_patch16_224", tmp_path / "w.safetensors")
    for name in ("vit_enormous", "hf_hub:timm/vit_tiny_patch16_224", "hf-hub:vit_tiny_patch16_224", ""):
        with pytest.raises(ConfigError, match="a model called"):
            import_timm(name)
    with pytest.raises(ConfigError, match="image 3 and patch 8"):
        import_timm("vit_tiny_patch16_224", image_size=3)


def _renamed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def _typed(kind: torch.dtype) -> Callable[[State], State]:
    return lambda state: {name: tensor.to(kind) for name, tensor in state.items()}


def _changed(name: str, factor: float) -> Callable[[State], State]:
    return lambda state: {**state, name: state[name] * factor}


@pytest.mark.parametrize(
    "change",
    [
        _renamed("module."),
        _renamed("model."),
        _renamed("_orig_mod."),
        _renamed("state_dict.model.module."),
        _renamed("backbone."),
        lambda state: {name.replace(".attn.", "._checkpoint_wrapped_module.attn."): t for name, t in state.items()},
        _typed(torch.float16),
        _typed(torch.bfloat16),
        _typed(torch.float64),
    ],
    ids=["module", "model", "compiled", "nested", "backbone", "inner", "float16", "bfloat16", "float64"],
)
def test_wrapped_and_half_precision_weights_are_taken(
    named: nn.Module, tmp_path: Path, change: Callable[[State], State]
) -> None:
    """Names lose what training scripts wrap a model in; numbers become float32. Classes are still the file's."""
    state = {name: tensor.float() for name, tensor in named.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in change(state).items()}, tmp_path / "w.safetensors")
    model = import_timm("vit_tiny_patch16_224", tmp_path / "w.safetensors").model
    assert model.config.classes == 7
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    images = make_pictures()
    with torch.no_grad():
        assert torch.allclose(model(images), named.float()(images), atol=0.1)


@pytest.mark.parametrize(
    ("change", "options", "got", "remedy"),
    [
        (_changed("blocks.1.mlp.fc1.weight", math.nan), {}, r"NaN or infinite .*: blocks\.1\.mlp\.fc1", "earlier"),
        (_changed("norm.bias", math.inf), {}, r"NaN or infinite .*: norm\.bias", "earlier"),
        (
            lambda state: {name: 0 * tensor for name, tensor in state.items()},
            {},
            "all zero .*: all of them",
            "training",
        ),
        (_changed("head.weight", 0), {}, r"all zero .*: head\.weight", "training"),
        (
            lambda state: {**state, "dist_token": torch.ones(1, 1, 24), "head_dist.weight": torch.ones(7, 24)},
            {},
            "a distilled DeiT, with dist_token and head_dist",
            "without distillation",
        ),
        (
            lambda state: {**state, "patch_embed.proj.weight": state["patch_embed.proj.weight"][:, :1].contiguous()},
            {},
            r"proj\.weight is \[24, 1, 8, 8\] instead of \[24, 3, 8, 8\]",
            "pictures of 1 channel.*three channels",
        ),
        (lambda state: state, {"classes": 9}, r"head\.weight is \[7, 24\] instead of \[9, 24\]", "classes out.* 7"),
        (lambda state: state, {"image_size": 16}, r"pos_embed is \[1, 17, 24\]", "--image-size 32"),
        (
            lambda state: {name: tensor for name, tensor in state.items() if "head" not in name},
            {},
            r"Missing keys: head\.weight, head\.bias$",
            "classification head",
        ),
        (
            lambda state: {**state, **_renamed("model_ema.")(state)},
            {},
            r"Unexpected keys: model_ema\..* and \d+ more",
            "one model alone",
        ),
        (
            lambda state: {**_renamed("model.")(state), **_renamed("module.")(state)},
            {},
            "several tensors for 'blocks",
            "file of its own",
        ),
        (
            lambda state: {name: (100 * tensor).to(torch.int8) for name, tensor in state.items()},
            {},
            "cls_token is int8 instead of float32",
            "before they were quantized",
        ),
        (
            lambda state: {"vit.encoder.layer.0.weight": torch.ones(2, 2), "classifier.weight": torch.ones(2, 2)},
            {},
            "Missing keys: cls_token.*Unexpected keys: classifier",
            "timm's names",
        ),
    ],
)
def test_wrong_weights_are_told_apart(
    named: nn.Module,
    tmp_path: Path,
    change: Callable[[State], State],
    options: dict[str, int],
    got: str,
    remedy: str,
) -> None:
    """What is wrong comes first, and the remedy is the one for it."""
    state = {name: tensor.float() for name, tensor in named.state_dict().items()}
    save_file({name: tensor.clone() for name, tensor in change(state).items()}, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError) as caught:
        import_timm("vit_tiny_patch16_224", tmp_path / "w.safetensors", **options)
    assert re.search(got, caught.value.got)
    assert re.search(remedy, caught.value.remedy)
    assert len(caught.value.got) < 600


def test_a_distilled_deit_is_called_one() -> None:
    """By name alone, before any weights are read."""
    with pytest.raises(ConfigError, match=r"a distilled DeiT.* without distillation"):
        import_timm("deit_tiny_distilled_patch16_224")
