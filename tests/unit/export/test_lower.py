"""Quantized models as export takes them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.builder import Precision
from mpcvit.export.quantized.lower import Lowered, Replacement, lower
from mpcvit.export.vit import export_vit
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.places import quantizers
from mpcvit.quantize.quantize import quantize
from mpcvit.quantize.quantizers.power_of_two import PowerOfTwo
from mpcvit.ring.fixed_point import decode
from tests.support.columns import varied
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import BASE, QUICK, make_variant
from tests.support.models import TINY

IMAGES = make_images(TINY, 24)


def lowered(model: VisionTransformer, method: Method, bits: int) -> tuple[VisionTransformer, Lowered]:
    """The quantized model, and what it becomes."""
    config = QuantizeConfig(method=method, bits=Bits(weight=8, activation=bits))
    quantized = quantize(model, config, IMAGES)
    return quantized, lower(quantized)


def exported(result: Lowered) -> tuple[Program, dict]:
    """Its Program and weights."""
    done = export_vit(result.model, IMAGES, Precision(steps=result.steps))
    return done.program, done.weights


@pytest.mark.parametrize("method", list(Method))
def test_every_method_becomes_a_program(tiny_model: VisionTransformer, method: Method) -> None:
    """Plain layers with the quantized weights; on integers the logits are near those of the quantized model."""
    quantized, result = lowered(tiny_model, method, 8)
    assert {type(module) for module in result.model.modules() if isinstance(module, nn.Linear)} == {nn.Linear}
    assert not quantizers(result.model)
    program, weights = exported(result)
    codes = run_reference(program, weights, {"image": pixel_codes(IMAGES)})
    got = torch.from_numpy(decode(codes, program.types[program.output].frac)).float()
    with torch.no_grad():
        wanted, original = quantized(IMAGES), tiny_model(IMAGES)
    assert (got - wanted).norm() < 0.25 * original.norm()
    assert (got - original).norm() < 0.25 * original.norm()


def test_low_widths_make_gates_cheaper(tiny_model: VisionTransformer) -> None:
    """Fewer bits, coarser gates, less material; the steps are those of the quantizers."""
    material = []
    for bits in (10, 6, 4):
        quantized, result = lowered(tiny_model, Method.POWER_OF_TWO, bits)
        steps = dict(result.steps)
        after = quantizers(quantized)["blocks.0.mlp.fc2.quantize_input"]
        assert isinstance(after, PowerOfTwo)
        assert steps["block0.act"] == 2.0 ** -float(after.frac)
        assert steps["block0.fc1"] == steps["block0.act"] / 2
        plan = make_plan(exported(result)[0], objective("loopback"))
        material.append(sum(fast_cost(plan).total.material_bytes))
    assert material == sorted(material, reverse=True)
    assert material[-1] < material[0]


def test_what_is_replaced_is_said(tiny_model: VisionTransformer) -> None:
    """Every quantizer of activations is in one group, weights' are in none."""
    quantized, result = lowered(tiny_model, Method.ADALOG, 6)
    places = [place for group in result.replaced for place in group.places]
    assert sorted(places) == sorted(name for name in quantizers(quantized) if not name.endswith("quantize_weight"))
    assert all("not clamped" in group.instead for group in result.replaced)


def _variant(activation: Activation) -> VisionTransformer:
    config = varied(BASE, heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),) * 2)
    return make_variant(varied(config, activation=(activation, Activation.RELU)))


@pytest.mark.parametrize("activation", list(Activation))
def test_only_gates_are_coarse(activation: Activation) -> None:
    """Steps are of values that the Program has and that a gate makes or reads; the rest is said to be ordinary."""
    model, images = _variant(activation), make_images(BASE, 16)
    quantized = quantize(model, QuantizeConfig(method=Method.MINMAX, bits=Bits(weight=8, activation=4)), images)
    result = lower(quantized)
    gate = activation in (Activation.GELU, Activation.RELU)
    names = {name for name, _ in result.steps}
    weights = {f"block{number}.attn.relu_softmax.{part}" for number in (0, 1) for part in ("weights", "scores")}
    assert names == weights | {"block1.act", "block1.fc1"} | ({"block0.act", "block0.fc1"} if gate else set())
    program = export_vit(result.model, images, replace(QUICK, steps=result.steps)).program
    assert names <= {node.name for node in program.nodes}
    coarse = {place for group in result.replaced if "largest power of two" in group.instead for place in group.places}
    assert ("blocks.0.mlp.fc2.quantize_input" in coarse) == gate
    assert len(coarse) == len(names) / 2
    assert all(program.types[name].frac < QUICK.frac for name in names)


def test_places_are_named_blocks_together() -> None:
    """All blocks by a star, some by their numbers, what is outside of them by itself."""
    sites = ("blocks.0.mlp.fc2.quantize_input", "blocks.2.mlp.fc2.quantize_input", "head.quantize_input")
    everywhere = tuple(f"blocks.{number}.attn.quantize_q" for number in range(3))
    found = Replacement((*sites, *everywhere), "uniform, 4 bits", "else").patterns(3)
    assert found == ["blocks.0,2.mlp.fc2 input", "head input", "blocks.*.attn q"]
