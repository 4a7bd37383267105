"""EfficientFormer: timm's logits, its configuration and files, windows and averages of grids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.compat import prepare_torchvision
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError, ProgramError
from mpcvit.measure.accuracy import float_logits
from mpcvit.models.efficientformer import EfficientFormer, EfficientFormerConfig, bias_places
from mpcvit.models.kinds import Activation
from mpcvit.models.timm_import import from_timm, import_timm
from mpcvit.ops import AveragePool, Unfold
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import load_any_model, load_model, save_model
from tests.support.cases import t
from tests.support.efficientformers import SMALL, make_efficientformer, make_pictures, stir

prepare_torchvision()

from timm import create_model  # noqa: E402
from timm.models.efficientformer import Attention  # noqa: E402

#: Timm's attention is for 7 x 7 tokens: 56 pixels behind two stages.
SIZES = {"depths": (1, 2), "embed_dims": (8, 12), "mlp_ratios": 2, "num_vit": 1, "num_classes": 5}
ROUNDING = 1e-12


def make_timm(**options: Any) -> nn.Module:
    """A small EfficientFormer of timm's in which every parameter matters, float64, in eval mode."""
    model: nn.Module = create_model("efficientformer_l1", **{**SIZES, **options})
    stir(model)
    return model.double().eval()


def make_images(size: int = 56) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(4, 3, size, size).double()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_vit": 2},
        {"act_layer": nn.ReLU},
        {"pool_size": 5, "depths": (2, 3), "num_vit": 2},
    ],
)
def test_logits_are_timm_s(options: dict[str, Any]) -> None:
    """In float64 both models differ by rounding only; the mean of timm's two heads is one head."""
    source, images = make_timm(**options), make_images()
    model = from_timm(source, 56)
    assert isinstance(model, EfficientFormer)
    with torch.no_grad():
        assert (model(images) - source(images)).abs().max() < ROUNDING
        assert source(images).std(0).min() > 1e-3
    assert model.config.side == 7
    assert model.config.attention_blocks == options.get("num_vit", 1)
    assert model.config.activation is (Activation.RELU if "act_layer" in options else Activation.GELU)


def test_smaller_pictures_use_the_biases_of_their_distances() -> None:
    """On a grid of 4 x 4, timm's attention with the biases of distances below 4 gives the same."""
    source = make_timm()
    mixer = source.stages[-1].blocks[-1].token_mixer
    smaller = Attention(12, resolution=4).double()
    state = {name: value for name, value in mixer.state_dict().items() if not name.startswith("attention_bias")}
    state["attention_bias_idxs"] = smaller.attention_bias_idxs
    state["attention_biases"] = mixer.attention_biases.detach().reshape(8, 7, 7)[:, :4, :4].reshape(8, 16)
    smaller.load_state_dict(state)
    model = from_timm(source, 32)
    source.stages[-1].blocks[-1].token_mixer = smaller
    source.eval()
    with torch.no_grad():
        assert (model(make_images(32)) - source(make_images(32))).abs().max() < ROUNDING
    with pytest.raises(ConfigError, match="7 x 7"):
        from_timm(make_timm(), 64)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"num_vit": 0}, "no block with attention"),
        ({"act_layer": nn.SiLU}, r"mlp\.act is SiLU"),
        ({"num_classes": 0}, "head is Identity"),
        ({"global_pool": ""}, "global_pool is "),
        ({"downsamples": (False, False), "embed_dims": (8, 8)}, r"stages\.1\.downsample is Identity"),
        ({"norm_layer_cl": lambda dim, **_: nn.LayerNorm(dim, eps=1e-3) if dim == 12 else nn.Identity()}, None),
        ({"norm_layer": lambda dim, **_: nn.BatchNorm2d(dim, eps=1e-3)}, "batch norm's epsilon"),
        ({"norm_layer": lambda dim, **_: nn.GroupNorm(1, dim)}, r"stem\.norm1 is GroupNorm"),
    ],
)
def test_parts_without_counterpart_are_refused(options: dict[str, Any], part: str | None) -> None:
    """The error names the part that is in the way; another epsilon of layer norms is none."""
    source = make_timm(**options)
    if part is None:
        assert from_timm(source, 56).config.norm_epsilon == 1e-3
        return
    with pytest.raises(ConfigError, match=part):
        from_timm(source, 56)


def test_published_sizes() -> None:
    """L1 and L3 have timm's parameters but for the second head, and end in 7 x 7 tokens at 224 pixels."""
    for name, expected in (("efficientformer_l1", 12_289_928), ("efficientformer_l3", 31_406_000)):
        model = import_timm(name).model
        assert isinstance(model, EfficientFormer)
        second_head = (model.config.widths[-1] + 1) * 1000
        assert sum(parameter.numel() for parameter in model.parameters()) == expected - second_head
        assert model.config.side == 7


@pytest.mark.parametrize(
    "change",
    [
        {"depths": (1,)},
        {"depths": (), "widths": (), "hidden": ()},
        {"widths": (5, 6)},
        {"widths": (4, 0)},
        {"attention_blocks": 0},
        {"attention_blocks": 3},
        {"depths": (1,), "widths": (4,), "hidden": (4,)},
        {"pool_side": 2},
        {"activation": Activation.QUAD},
        {"norm_epsilon": 0.0},
        {"image_size": 0},
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, Any]) -> None:
    """Sizes that do not fit together are ConfigErrors."""
    with pytest.raises(ConfigError):
        replace(SMALL, **change)


def test_configuration_round_trip() -> None:
    """to_document and from_document are inverse, through JSON; unknown fields are ConfigErrors."""
    document = json.loads(json.dumps(to_document(SMALL)))
    assert from_document(EfficientFormerConfig, document) == SMALL
    for wrong in ({**document, "colour": 1}, {**document, "activation": "swish"}, {"family": "efficientformer"}):
        with pytest.raises(ConfigError):
            from_document(EfficientFormerConfig, wrong)


def test_model_files_round_trip(tmp_path: Path) -> None:
    """A saved model computes the same, batch norms included; what needs a ViT refuses it."""
    model, images = make_efficientformer(), make_pictures(SMALL, 3)
    save_model(model, tmp_path)
    loaded = load_any_model(tmp_path)
    assert torch.equal(loaded(images), model(images))
    with pytest.raises(ConfigError, match="efficientformer") as refused:
        load_model(tmp_path)
    assert "Name the folder of a Vision Transformer" in refused.value.remedy


def test_gradients_reach_every_parameter() -> None:
    """The model trains."""
    model = make_efficientformer().train()
    model(make_pictures(SMALL, 4)).square().mean().backward()
    silent = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert all(".conv.bias" in name for name in silent)  # a batch norm removes them


def test_bias_places() -> None:
    """Tokens at the same distance, in either direction, share a bias."""
    places = bias_places(3)
    assert places.shape == (9, 9)
    assert places[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert places[4].tolist() == [4, 3, 4, 1, 0, 1, 4, 3, 4]


@pytest.mark.parametrize(("side", "stride", "border"), [(3, 2, 1), (3, 1, 1), (2, 2, 0), (1, 1, 0), (5, 3, 2)])
@pytest.mark.parametrize("size", [(6, 7), (5, 5)])
def test_windows_times_a_matrix_are_a_convolution(side: int, stride: int, border: int, size: tuple[int, int]) -> None:
    """Against PyTorch's convolution of integers, and the shape that the op infers."""
    torch.manual_seed(0)
    x, kernel = torch.randint(-9, 9, (2, *size, 3)), torch.randint(-9, 9, (4, 3, side, side))
    op = Unfold(side, stride, border)
    got = op.linear(x) @ kernel.permute(2, 3, 1, 0).reshape(-1, 4)
    expected = conv2d(x.permute(0, 3, 1, 2).double(), kernel.double(), stride=stride, padding=border)
    assert torch.equal(got.double(), expected.permute(0, 2, 3, 1))
    assert (*op.infer(t((*size, 3)))[0][:2], 4) == tuple(got.shape[1:])


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("size", [(6, 7), (2, 2), (1, 3), (1, 1)])
def test_averages_are_exact_multiples(side: int, size: tuple[int, int]) -> None:
    """Against PyTorch's average pooling that does not count the border."""
    torch.manual_seed(0)
    x, op = torch.randint(-9, 9, (2, *size, 3)), AveragePool(side)
    expected = avg_pool2d(x.permute(0, 3, 1, 2).double(), side, 1, side // 2, count_include_pad=False)
    got = op.linear(x)
    assert got.dtype == torch.int64
    assert torch.allclose(got.double() / op.multiple(*size), expected.permute(0, 2, 3, 1))
    assert AveragePool(3).multiple(56, 56) == 36


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (Unfold(3, 2, 3), (5, 5, 2)),
        (Unfold(3, 0, 1), (5, 5, 2)),
        (Unfold(3, 2, 1), (5, 10)),
        (Unfold(4, 1, 0), (3, 9, 2)),
        (AveragePool(2), (5, 5, 2)),
        (AveragePool(3), (5, 10)),
    ],
)
def test_wrong_windows_are_refused(op: Unfold | AveragePool, shape: tuple[int, ...]) -> None:
    """Windows that do not fit are ProgramErrors."""
    with pytest.raises(ProgramError):
        op.infer(t(shape))


def test_export_of_a_small_efficientformer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``mpcvit model export --timm`` takes it at a picture size of its own; its folder gives float logits."""

    def make(name: str, **options: Any) -> nn.Module:
        return create_model(name, **{**SIZES, **options})

    monkeypatch.setattr("mpcvit.models.timm_import.create_model", make)
    arguments = ["--noise", "--images", "4", "--image-size", "24", "--out", str(tmp_path), "--name", "small"]
    run = CliRunner().invoke(app, ["model", "export", "--timm", "efficientformer_l1", *arguments, "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["fidelity"] < 1e-9
    model = load_any_model(tmp_path)
    assert (model.config.image_size, model.config.classes) == (24, 5)
    pixels = torch.randint(0, 256, (2, 24, 24, 3)).to(torch.uint8).numpy()
    images = ImageSet(pixels, torch.zeros(2).long().numpy(), ("a",))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with torch.no_grad():
        expected = model(normalise(pixels, mean, std)).numpy()
    assert np.abs(float_logits(tmp_path, images) - expected).max() < 1e-6
