"""A small EfficientFormer, whole: in real numbers, as integers, on both engines."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.builder import Precision
from mpcvit.export.efficientformer import export_efficientformer
from mpcvit.export.exported import INPUT, Exported
from mpcvit.models.efficientformer import EfficientFormerConfig
from mpcvit.ops import AveragePool, Linear, Rescale, Unfold
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.wire.reveal import Disclosure
from tests.support.efficientformers import SMALL, make_efficientformer, make_pictures
from tests.support.fast import replay, run_on_fast
from tests.support.images import pixel_codes
from tests.support.secure import run_secure

#: Logits deviate by 0.1 to 0.2 and lie within 2; errors on these pictures are up to 0.0033.
REFERENCE_BOUND, SECURE_BOUND = 0.01, 0.02
#: No block with pooling before the attention, and another activation.
VARIANTS = {"small": {}, "relu": {"activation": "relu", "attention_blocks": 2, "depths": [2, 2]}}

#: Most of these models have no layer norm, so that nothing proves their ranges.
CALIBRATED = Precision(calibrated=True)


@cache
def exported(name: str) -> tuple[Exported, Codes, np.ndarray]:
    """A Program, codes of calibration pictures, and the float model's logits for them."""
    model = make_efficientformer(**VARIANTS[name])
    images = make_pictures(model.config, 24)
    result = export_efficientformer(model, images, CALIBRATED)
    with torch.no_grad():
        plain = model(images).double().numpy()
    return result, pixel_codes(images), plain


@pytest.mark.parametrize("name", VARIANTS)
def test_the_program_is_the_model(name: str) -> None:
    """In real numbers it is exact; in fixed point close."""
    result, codes, plain = exported(name)
    assert result.fidelity < 1e-9
    assert plain.std(0).min() > 0.05
    logits = decode(run_reference(result.program, result.weights, {INPUT: codes}), 12)
    assert np.abs(logits - plain).max() < REFERENCE_BOUND


@pytest.mark.parametrize("objective", ["wan", "loopback"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_fast_engine_is_the_reference_bit_for_bit(name: str, objective: str) -> None:
    """The replayed reference, close to floating point, and rounds and bytes as planned."""
    result, codes, plain = exported(name)
    run = run_on_fast(result.program, result.weights, {INPUT: codes[0]}, 1, OBJECTIVES[objective])
    assert (run.output == replay(run, result.weights, {INPUT: codes[0]})).all()
    assert np.abs(decode(run.output, 12) - plain[0]).max() < SECURE_BOUND
    if not run.repeated:
        for trace in run.traces:
            opened = trace.of("weights")
            assert trace.total().rounds - opened.rounds == len(run.plan.messages)
            assert trace.total().bytes_sent - opened.bytes_sent == sum(run.plan.messages)


def test_stock_shares_are_close() -> None:
    """CrypTen's protocols on the same Program stay within their rounding errors."""
    result, codes, plain = exported("small")
    output = run_secure(result.program, result.weights, {INPUT: codes[1]}).output
    assert np.abs(decode(output, 12) - plain[1]).max() < SECURE_BOUND


def test_windows_and_pooling_open_nothing() -> None:
    """Every block with pooling opens three tensors, and no convolution opens its windows."""
    program = exported("small")[0].program
    plan = make_plan(program, OBJECTIVES["wan"])
    local = {node.name for node in program.nodes if isinstance(node.op, Unfold | AveragePool)}
    assert len(local) == 3 + 2
    assert not [step.name for step in plan.steps if step.name.split("/")[0] in local and step.protocol.openings()]
    block = [step.name for step in plan.steps if step.name.startswith("stage0.pool1") and step.protocol.openings()]
    assert block == ["stage0.pool1.fc1", "stage0.pool1.act", "stage0.pool1.fc2"]
    kinds = {node.name: type(node.op) for node in program.nodes}
    assert all(kinds[name] is Rescale for name in block)
    assert sum(kind is Linear for kind in kinds.values()) == 3 + 3 + 5 + 4 + 1


def test_small_layer_scales_do_not_widen_sums() -> None:
    """With the layer scales that training begins with, openings are hardly ever ambiguous."""
    model = make_efficientformer()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "scale" in name:
                parameter.mul_(1e-5)
    result = export_efficientformer(model, make_pictures(SMALL, 16), CALIBRATED)
    assert result.fidelity < 1e-9
    assert make_plan(result.program, OBJECTIVES["wan"]).repeat_probability < 1e-4


def test_labels_can_be_all_that_is_revealed() -> None:
    """The Program may end in labels, as for other models."""
    model, images = make_efficientformer(), make_pictures(SMALL, 16)
    result = export_efficientformer(model, images, CALIBRATED, reveal=Disclosure.label())
    codes = pixel_codes(images)
    with torch.no_grad():
        plain = model(images)
    top = run_reference(result.program, result.weights, {INPUT: codes})[:, 0]
    clear = plain.topk(2).values.diff().abs()[:, 0].numpy() > 2 * REFERENCE_BOUND
    assert clear.sum() > 8
    assert (top == plain.argmax(1).numpy())[clear].all()


def test_grids_of_odd_sides() -> None:
    """Convolutions round the sides of grids up, as PyTorch's do; a grid of one position has no neighbours."""
    model = make_efficientformer(image_size=13, pool_side=5)
    assert isinstance(model.config, EfficientFormerConfig)
    assert model.config.side == 2
    assert export_efficientformer(model, make_pictures(model.config, 8), CALIBRATED).fidelity < 1e-9
