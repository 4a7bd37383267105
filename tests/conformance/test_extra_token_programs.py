"""Models with registers, prompts and a denoiser: float, reference, fast engine and stock shares."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from mpcvit.export.vit import INPUT, Exported, export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, ReductionKind
from mpcvit.models.prompts import Prompts
from mpcvit.models.token_flow import Reduction
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from tests.support.columns import configured, varied
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.models import make_model
from tests.support.secure import run_secure

pytestmark = pytest.mark.slow  # exports; tests/unit/quantize/test_extra_tokens.py is quick

#: Largest difference of logits, of size 1 to 10, between floating point and fixed point with 12 fractional bits.
BOUND = 0.02

BASE = configured(
    image_size=12,
    patch_size=4,
    classes=3,
    dim=16,
    hidden=16,
    heads=((AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX),) * 2,
    activation=(Activation.RELU,) * 2,
)
VARIANTS: dict[str, ViTConfig] = {
    "registers": replace(BASE, registers=2, lepe=2),
    "prompts-denoiser": replace(BASE, denoiser=True, prompts=Prompts(count=2, width=4)),
    "everything": varied(
        BASE,
        class_token=True,
        registers=1,
        denoiser=True,
        prompts=Prompts(count=3, width=5),
        reduction=(None, Reduction(kind=ReductionKind.EVIT, keep=9)),
    ),
}


@cache
def exported_variant(name: str) -> tuple[Exported, Codes, np.ndarray]:
    """A tiny model, four images' codes, and their logits in floating point."""
    config = VARIANTS[name]
    model, images = make_model(config, 0, gain=2.0), make_images(config, 48)
    if model.prompts is not None:
        torch.nn.init.normal_(model.prompts.up.weight)  # 0 at first
    exported = export_vit(model, images)
    with torch.inference_mode():
        plain = model(images[:4]).numpy()
    return exported, pixel_codes(images[:4]), plain


@pytest.mark.parametrize("name", VARIANTS)
def test_extra_tokens_are_the_reference_bit_for_bit(name: str) -> None:
    """The fast engine gives the replayed reference at the cost planned."""
    exported, codes, _ = exported_variant(name)
    run = run_on_fast(exported.program, exported.weights, {INPUT: codes[0]}, 1)
    assert (run.output == replay(run, exported.weights, {INPUT: codes[0]})).all()
    assert_cost(run)


@pytest.mark.parametrize("name", VARIANTS)
def test_extra_tokens_are_close_to_float(name: str) -> None:
    """In real arithmetic the Program is the model; reference and stock shares agree with floating point."""
    exported, codes, plain = exported_variant(name)
    assert exported.fidelity < 1e-9
    reference = _real(exported, run_reference(exported.program, exported.weights, {INPUT: codes}))
    assert np.abs(reference - plain).max() < BOUND
    secure = run_secure(exported.program, exported.weights, {INPUT: codes[0]}).output
    assert np.abs(_real(exported, secure) - reference[0]).max() < BOUND


def _real(exported: Exported, codes: Codes) -> np.ndarray:
    return decode(codes, exported.program.types[exported.program.output].frac)
