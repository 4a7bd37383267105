"""Models of every activation, gate and norm: float, reference, fast engine and stock shares."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.export.vit import INPUT, Exported, export_vit
from mpcvit.models.kinds import Activation, GateAxis, Norm
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from tests.support.columns import column
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import NARROW, VARIANTS, make_variant
from tests.support.secure import run_secure

#: Largest difference of logits, of size 1 to 10, between floating point and fixed point with 12 fractional bits.
BOUND = 0.02


@cache
def exported_variant(name: str) -> tuple[Exported, Codes, np.ndarray]:
    """A tiny model, four images' codes, and their logits in floating point."""
    config = VARIANTS[name]
    model, images = make_variant(config), make_images(config, 48)
    exported = export_vit(model, images, NARROW)
    with torch.inference_mode():
        plain = model(images[:4]).numpy()
    return exported, pixel_codes(images[:4]), plain


@pytest.mark.parametrize(
    ("name", "objective"), [*((name, "wan") for name in VARIANTS), ("repavit", "material"), ("affine", "loopback")]
)
def test_variants_are_the_reference_bit_for_bit(name: str, objective: str) -> None:
    """The fast engine gives the replayed reference, close to floating point, at the cost planned."""
    exported, codes, plain = exported_variant(name)
    run = run_on_fast(exported.program, exported.weights, {INPUT: codes[0]}, 1, OBJECTIVES[objective])
    assert (run.output == replay(run, exported.weights, {INPUT: codes[0]})).all()
    assert np.abs(_real(exported, run.output) - plain[0]).max() < BOUND
    assert_cost(run)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_close_to_float(name: str) -> None:
    """In real arithmetic the Program is the model; reference and stock shares agree with floating point."""
    exported, codes, plain = exported_variant(name)
    assert exported.fidelity < 1e-9
    reference = _real(exported, run_reference(exported.program, exported.weights, {INPUT: codes}))
    assert np.abs(reference - plain).max() < BOUND
    secure = run_secure(exported.program, exported.weights, {INPUT: codes[0]}).output
    assert np.abs(_real(exported, secure) - reference[0]).max() < BOUND


def test_variants_cover_everything() -> None:
    """No activation, axis of a gate or norm, and no pair of an axis and an activation, escapes this file."""
    seen = {
        (gate.axis, activation)
        for config in VARIANTS.values()
        for activation, gate in zip(column(config, "activation"), column(config, "gate"), strict=True)
        if gate is not None
    }
    assert seen == {(axis, activation) for axis in GateAxis for activation in Activation}
    for place in (0, 1):
        assert {pair[place] for config in VARIANTS.values() for pair in column(config, "norms")} == set(Norm)


def _real(exported: Exported, codes: Codes) -> np.ndarray:
    return decode(codes, exported.program.types[exported.program.output].frac)
