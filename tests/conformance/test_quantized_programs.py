"""What quantized models become on shares: every method and width, on the fast engine and as integers in clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.export.quantized.lower import lower
from mpcvit.export.vit import INPUT, export_vit
from mpcvit.models.kinds import Activation, AttentionKind, Norm
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from mpcvit.ring.fixed_point import decode
from tests.support.columns import varied
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import BASE, QUICK, make_variant

#: What quantization makes coarser on shares, comparisons of scores and GELU's spline, and a softmax beside; of the
#: norms only the last one divides, because splines of divisions take longest to fit.
CONFIG = varied(
    BASE,
    image_size=8,
    heads=((AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX),),
    activation=(Activation.GELU,),
    norms=((Norm.AFFINE, Norm.BATCHNORM),),
)
SKETCH = replace(QUICK, relative=2.0**-4)
#: Largest difference of logits, of size 1 to 8, from the lowered model in floating point, by bits of activations.
BOUNDS = {8: 0.3, 4: 2.0}
CASES = [(method, bits) for method in Method for bits in BOUNDS]


@pytest.mark.parametrize(("method", "bits"), CASES)
def test_quantized_models_are_the_reference_bit_for_bit(method: Method, bits: int) -> None:
    """The Program is the lowered model in real arithmetic; the fast engine gives the replayed reference."""
    images = make_images(CONFIG, 16)
    config = QuantizeConfig(method=method, bits=Bits(weight=bits, activation=bits))
    lowered = lower(quantize(make_variant(CONFIG), config, images))
    assert lowered.steps or method is Method.ADALOG  # which may have nothing but logarithms there
    exported = export_vit(lowered.model, images, replace(SKETCH, steps=lowered.steps))
    assert exported.fidelity < 1e-9
    codes = pixel_codes(images[0])
    run = run_on_fast(exported.program, exported.weights, {INPUT: codes})
    assert (run.output == replay(run, exported.weights, {INPUT: codes})).all()
    with torch.inference_mode():
        plain = lowered.model(images[:1])[0].numpy()
    logits = decode(run.output, exported.program.types[exported.program.output].frac)
    assert np.abs(logits - plain).max() < BOUNDS[bits]
    assert_cost(run)
