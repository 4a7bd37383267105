"""What widths cost on secret shares."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.builder import Precision
from mpcvit.export.quantized.dealt_bytes import dealt_bytes
from mpcvit.export.quantized.lower import lower
from mpcvit.export.vit import export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.allocate.mixed_precision import MixedPrecision
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from tests.support.images import make_images
from tests.support.models import TINY

START = QuantizeConfig(method=Method.MPTQ, bits=Bits(weight=8, activation=8))
LOWEST = 4
GOAL = objective("wan")
IMAGES = make_images(TINY, 16)


def dealt(model: VisionTransformer, config: QuantizeConfig) -> int:
    """What the dealer sends for the model that is exported."""
    lowered = lower(quantize(model, config, IMAGES))
    program = export_vit(lowered.model, IMAGES, Precision(steps=lowered.steps)).program
    return sum(fast_cost(make_plan(program, GOAL)).total.material_bytes)


@pytest.mark.slow
def test_the_cost_is_what_the_exported_model_deals(tiny_model: VisionTransformer) -> None:
    """For any mixture of widths, to a thousandth; only layers with gates count."""
    start = replace(START, layers=(("head", Bits(weight=8, activation=LOWEST)),))  # narrower than the lowest below
    cost = dealt_bytes(tiny_model, start, IMAGES, GOAL, LOWEST + 1)
    wide, narrow = START.bits, Bits(weight=8, activation=LOWEST)
    names = ("blocks.0.attn", "blocks.0.mlp.fc2", "blocks.0.mlp.fc1", "head")
    mixtures = [{name: narrow if name in chosen else wide for name in names} for chosen in ([], names[:1], names[:2])]
    expected = []
    for mixture in mixtures:
        config = QuantizeConfig(method=START.method, bits=wide, layers=tuple(mixture.items()))
        expected.append(dealt(tiny_model, config))
        assert abs(cost(mixture) - expected[-1]) < 1e-3 * expected[-1]
    assert expected[2] < expected[1] < expected[0]
    assert cost({**mixtures[0], "head": narrow}) == cost(mixtures[0])


@pytest.mark.slow
def test_mixed_precision_within_dealt_bytes(tiny_model: VisionTransformer) -> None:
    """The model that comes of a budget deals no more than that, and only layers with gates are narrower."""
    cost = dealt_bytes(tiny_model, START, IMAGES, GOAL, LOWEST)
    wide = {name: START.bits for name in ("blocks.0.attn", "blocks.0.mlp.fc2")}
    narrow = {name: Bits(weight=8, activation=LOWEST) for name in wide}
    budget = (cost(wide) + cost(narrow)) / 2
    found = MixedPrecision(tiny_model, START, IMAGES, Bits(weight=8, activation=LOWEST)).within(cost, budget)
    assert {name.rpartition(".")[2] for name, _ in found.layers} <= {"attn", "fc2"}
    assert dealt(tiny_model, found) <= budget * 1.001
