"""Proven ranges on pictures that have nothing of the calibration's, however roundings fall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpcvit.check.families import pictures
from mpcvit.errors import RangeError, RangeExceeded
from mpcvit.export.builder import Precision
from mpcvit.export.exported import INPUT, Exported
from mpcvit.export.model import export_model
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, Norm
from mpcvit.ops import GridSpline, Op, Relu, Rescale
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.ranges import Ranges
from tests.support.columns import configured, varied
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import make_variant
from tests.support.models import TINY, make_model

_SIDE = 12
#: What bounds may have lost in float64.
_FLOAT = 2.0**-40


def config(kind: AttentionKind, activation: Activation = Activation.RELU, **fields: Any) -> ViTConfig:
    """One block with two heads of ``kind`` on nine patches."""
    sizes = {"image_size": _SIDE, "patch_size": 4, "classes": 3, "dim": 12, "hidden": 16}
    return configured(
        **sizes, heads=((kind, kind),), activation=(activation,), pooled_side=1, linformer_rank=5, **fields
    )


CONFIGS = {
    **{str(kind): config(kind) for kind in AttentionKind},
    **{str(activation): config(AttentionKind.SCALING, activation) for activation in Activation},
    "softmax-gelu-class_token": config(AttentionKind.SOFTMAX, Activation.GELU, class_token=True),
    "lepe": config(AttentionKind.RELU_SOFTMAX, lepe=4),
}


def hard_pictures(count: int) -> Codes:
    """Black, white and primary colours, and ``count`` pictures of all families, [.., channels, height, width]."""
    rng = np.random.default_rng(3)
    photographs = rng.integers(0, 256, (4, _SIDE, _SIDE, 3), dtype=np.uint8)
    families = [picture for _, picture in pictures(count, (_SIDE, _SIDE, 3), photographs, seed=5)]
    colours = np.array([[[[255 * (code >> channel & 1) for channel in range(3)]]] for code in range(8)])
    flat = np.broadcast_to(colours, (8, _SIDE, _SIDE, 3)).astype(np.uint8)
    return np.concatenate([np.stack(families), flat]).transpose(0, 3, 1, 2).astype(np.int64)


def largest_rounding(op: Op) -> int:
    """What a run of the fast engine may add at most before ``op`` drops bits."""
    match op:
        case Rescale():
            return (1 << op.bits) - 1
        case GridSpline():
            return (1 << op.shift) - 1
        case Relu():
            return (1 << op.drop) - 1
    return 0


def assert_in_range(exported: Exported, codes: Codes, roundings: dict[str, torch.Tensor]) -> None:
    """Every value, and not only those that gates read, keeps its declared range."""
    values = {name: torch.from_numpy(weights) for name, weights in exported.weights.items()}
    values[INPUT] = torch.from_numpy(codes)
    for node, _ in exported.program.in_order():
        inputs = [values[name] for name in node.inputs]
        found = values[node.name] = node.op.reference(*inputs, rounding=roundings.get(node.name))
        kind = node.type.qtype
        least, largest = (float(end) * kind.step for end in found.aminmax())
        slack = _FLOAT * max(abs(kind.lo), abs(kind.hi))
        assert kind.lo - slack <= least, node.name
        assert largest <= kind.hi + slack, node.name


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request: pytest.FixtureRequest) -> Exported:
    """A tiny model, calibrated on pictures of noise."""
    chosen = CONFIGS[request.param]
    return export_model(make_model(chosen, gain=1.5), make_images(chosen, 16), Precision(relative=2.0**-6))


@pytest.mark.slow
def test_no_picture_leaves_a_proven_range(exported: Exported) -> None:
    """No value does, with roundings to nearest, at both ends, and drawn; and no gate refuses."""
    program, codes = exported.program, hard_pictures(216)
    assert program.ranges is Ranges.PROVEN
    most = {node.name: largest_rounding(node.op) for node in program.nodes}
    torch.manual_seed(0)
    drawn = {name: torch.randint(0, 1 + end, (1, *program.types[name].shape)) for name, end in most.items() if end}
    for roundings in (
        {},
        {name: torch.tensor(0) for name in drawn},
        {name: torch.tensor(most[name]) for name in drawn},
        drawn,
    ):
        run_reference(program, exported.weights, {INPUT: codes}, roundings)
        assert_in_range(exported, codes, roundings)


def test_a_model_without_norms_is_refused_or_calibrated() -> None:
    """By name of the option that allows it; the Program says what it is, and the reference notices what leaves."""
    chosen = varied(TINY, image_size=_SIDE, norms=((Norm.AFFINE, Norm.AFFINE),))
    model, images = make_variant(chosen), make_images(chosen, 16)
    with pytest.raises(RangeError, match="--allow-calibrated"):
        export_model(model, images)
    exported = export_model(model, images, Precision(margin=1.01), allow_calibrated=True)
    assert exported.program.ranges is Ranges.CALIBRATED
    run_reference(exported.program, exported.weights, {INPUT: pixel_codes(images)})
    with pytest.raises(RangeExceeded, match="outside the window of"):
        run_reference(exported.program, exported.weights, {INPUT: hard_pictures(54)})
