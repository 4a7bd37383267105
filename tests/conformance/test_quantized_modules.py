"""What any module becomes on shares once it is quantized: cheaper gates, and the reference bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.exported import INPUT, Exported
from mpcvit.export.model import export_model
from mpcvit.export.quantized.lower import Lowered, lower_module
from mpcvit.export.traced.factory import traced_model
from mpcvit.export.traced.model import TracedModel
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize_module import quantize_module
from mpcvit.ring.fixed_point import decode
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.hybrids import SIZE, hybrid
from tests.support.images import pixel_codes
from tests.support.mlp_variants import QUICK
from tests.support.traced import CHANNELS, pictures

pytestmark = pytest.mark.slow  # splines are fitted for every width

IMAGES = pictures(SIZE, 12)
PRECISION = replace(QUICK, relative=2.0**-4, stock_wraps=float("inf"))


def lowered(method: Method, bits: int) -> Lowered:
    config = QuantizeConfig(method=method, bits=Bits(weight=8, activation=bits))
    model = traced_model(hybrid(), CHANNELS, SIZE, SIZE)
    return lower_module(TracedModel(quantize_module(model.module, config, IMAGES), model.config))


def exported(result: Lowered) -> Exported:
    return export_model(result.model, IMAGES, replace(PRECISION, steps=result.steps))


def dealt(found: Exported) -> int:
    return sum(fast_cost(make_plan(found.program, objective("wan"))).total.material_bytes)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantized_module_is_the_reference_bit_for_bit(bits: int) -> None:
    """The Program is the module with rounded weights in real arithmetic; shares give the replayed reference."""
    result = lowered(Method.REPQ, bits)
    assert {name for name, _ in result.steps} == {"stem.2.relu", "stem.2.relu.read", "gelu", "gelu.input"}
    found = exported(result)
    assert found.fidelity < 1e-6
    codes = pixel_codes(IMAGES[0])
    run = run_on_fast(found.program, found.weights, {INPUT: codes})
    assert (run.output == replay(run, found.weights, {INPUT: codes})).all()
    with torch.inference_mode():
        plain = result.model.module(IMAGES[:1])[0].numpy()
    logits = decode(run.output, found.program.types[found.program.output].frac)
    assert np.abs(logits - plain).max() < {8: 0.1, 4: 1.0}[bits]
    assert_cost(run)


def test_narrow_activations_cost_less() -> None:
    """Comparisons of fewer bits and splines of fewer knots: the dealer sends less, the fewer bits the less."""
    real = export_model(traced_model(hybrid(), CHANNELS, SIZE, SIZE), IMAGES, PRECISION)
    costs = [dealt(real), *(dealt(exported(lowered(Method.MINMAX, bits))) for bits in (8, 4))]
    assert costs[0] > costs[1] > costs[2]


def test_what_other_readers_need_stays_fine() -> None:
    """Logarithms have no step, and every quantizer that is replaced on shares is said to be."""
    result = lowered(Method.ADALOG, 4)
    said = {place for one in result.replaced for place in one.places}
    assert said == {f"{layer}.quantize_input" for layer in ("stem.0", "local", "fc1", "fc2", "head")}
    coarse = {place for one in result.replaced if "largest power of two" in one.instead for place in one.places}
    assert coarse <= {"local.quantize_input", "fc2.quantize_input"}
