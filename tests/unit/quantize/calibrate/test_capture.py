"""What layers read of calibration pictures."""

from __future__ import annotations

import pytest
import torch

from mpcvit.errors import InputError
from mpcvit.models.vit import patchify
from mpcvit.quantize.calibrate.capture import capture, trace
from mpcvit.quantize.config import Method
from mpcvit.quantize.places import with_places
from mpcvit.quantize.quantize import quantize
from tests.support.images import make_images
from tests.support.mlp_variants import make_variant
from tests.support.quantized import PAPERS, SELECTING, settings


def test_capture_sees_what_layers_read_and_stops_early() -> None:
    """Values of a block for all pictures, over several batches; later blocks do not run."""
    model = with_places(make_variant(PAPERS))
    images = make_images(PAPERS, 70)
    traced = trace(model, images[:1])
    first, block = traced.stages()[:2]
    assert traced.first == "patch_embed"
    assert traced.norms["blocks.1.mlp.fc1"] == "blocks.1.norm2"
    assert traced.norms["head"] == "norm"
    assert "blocks.0.mlp.fc2" not in traced.norms
    ran = []
    model.blocks[1].register_forward_pre_hook(lambda *_: ran.append(1))
    seen = capture(model, traced.calls, [*first, *block], images)
    assert not ran
    assert set(seen) == {*first, *block}
    assert torch.allclose(seen["patch_embed.quantize_input"], patchify(images, PAPERS.patch_size))
    embedded = model.patch_embed(seen["patch_embed.quantize_input"]) + model.pos_embed
    expected = model.blocks[0].norm1(embedded)
    assert torch.allclose(seen["blocks.0.attn.qkv.quantize_input"], expected, atol=1e-5)


def test_a_selection_s_operands_are_computed_once() -> None:
    """One call of every place, and a row of what it sees per picture."""
    model, images = with_places(make_variant(SELECTING)), make_images(SELECTING, 5)
    traced = trace(model, images[:1])
    assert len(set(traced.calls)) == len(traced.calls)
    assert traced.norms["blocks.0.attn.qkv"] == "blocks.0.norm1"
    seen = capture(model, traced.calls, ["blocks.0.attn.quantize_q"], images)
    assert len(seen["blocks.0.attn.quantize_q"]) == 5


def test_pictures_are_finite_and_float32() -> None:
    """Anything else is refused before any work, by what computes with pictures."""
    model, images = make_variant(PAPERS), make_images(PAPERS, 4)
    wrong = {"float64": images.double(), "uint8": images.to(torch.uint8), "finite": images.clone()}
    wrong["finite"][2, 0, 3, 3] = torch.nan
    for words, pictures in wrong.items():
        with pytest.raises(InputError, match=words):
            quantize(model, settings(Method.MINMAX, 8), pictures)
