"""Models with registers, prompts and a denoiser, quantized."""

from __future__ import annotations

from dataclasses import replace

import torch

from mpcvit.export.builder import Precision
from mpcvit.export.quantized.lower import lower
from mpcvit.export.vit import export_vit
from mpcvit.models.prompts import Prompts
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from tests.support.images import make_images
from tests.support.mlp_variants import BASE
from tests.support.models import make_model


def test_a_quantized_model_with_extra_tokens_exports() -> None:
    """RepQ W8A8, whose rewriting gives layers a bias; the Program is what is left without quantizers."""
    config = replace(BASE, registers=1, denoiser=True, class_token=True, prompts=Prompts(count=2, width=4))
    model, images = make_model(config, 0, gain=2.0), make_images(config, 16)
    assert model.prompts is not None
    torch.nn.init.normal_(model.prompts.up.weight)
    quantized = quantize(model, QuantizeConfig(method=Method.REPQ, bits=Bits(weight=8, activation=8)), images)
    with torch.no_grad():
        assert (quantized(images) - model(images)).abs().max() < 0.1 * model(images).abs().max()
    lowered = lower(quantized)
    exported = export_vit(lowered.model, images, Precision(steps=lowered.steps, relative=2.0**-6, calibrated=True))
    assert exported.fidelity < 1e-6
