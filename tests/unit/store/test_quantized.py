"""Quantized models on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpcvit.errors import ModelFileError
from mpcvit.quantize.config import Bits, Method
from mpcvit.quantize.places import quantizers
from mpcvit.quantize.quantize import quantize
from mpcvit.store.quantized import QUANTIZE_FILE, load_quantized, save_quantized
from tests.support.images import make_images
from tests.support.mlp_variants import make_variant
from tests.support.quantized import METHODS, PAPERS, quantized, settings


@pytest.mark.parametrize("method", METHODS)
def test_saved_models_load_with_the_same_outputs(method: Method, tmp_path: Path) -> None:
    """Bit for bit, with configuration, kinds, widths and settings of quantizers."""
    config = replace(settings(method, 4), layers=(("head", Bits(weight=8, activation=8)),))
    model, images = make_variant(PAPERS), make_images(PAPERS, 8)
    result = quantize(model, config, images)
    save_quantized(result, config, tmp_path)
    loaded, loaded_config = load_quantized(tmp_path)
    assert loaded_config == config
    assert torch.equal(loaded(images), result(images))
    assert {name: (q.kind, q.bits, q.settings()) for name, q in quantizers(loaded).items()} == {
        name: (q.kind, q.bits, q.settings()) for name, q in quantizers(result).items()
    }


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 2},
        {"quantizers": {"blocks.0.nowhere": {"kind": "uniform", "bits": 4, "settings": {}}}},
        {"quantizers": {"head.quantize_input": {"kind": "exec", "bits": 4, "settings": {}}}},
        {"quantizers": {"head.quantize_input": {"kind": "uniform", "bits": 4, "settings": {"colour": 1}}}},
        {"quantizers": {"head.quantize_input": {"kind": "adalog", "bits": 4, "settings": {}}}},
        {"quantizers": {}},
        {"quantizers": []},
    ],
)
def test_damaged_files_are_refused(damage: dict, tmp_path: Path) -> None:
    """What does not belong together is a ModelFileError that says what to do."""
    _, result = quantized(Method.MINMAX, 4)
    save_quantized(result, settings(Method.MINMAX, 4), tmp_path)
    document = json.loads((tmp_path / QUANTIZE_FILE).read_text())
    (tmp_path / QUANTIZE_FILE).write_text(json.dumps({**document, **damage}))
    with pytest.raises(ModelFileError, match="Quantize"):
        load_quantized(tmp_path)
    (tmp_path / QUANTIZE_FILE).unlink()
    with pytest.raises(ModelFileError, match="Quantize"):
        load_quantized(tmp_path)
