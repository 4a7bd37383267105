"""Small models of timm's classes that have no importer: parties compute the reference, bit for bit.

One of a family each, with weights as lively as trained ones; all ranges are proven. More are in
tests/unit/export/traced/test_traced_models.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpcvit.compat import prepare_torchvision
from mpcvit.export.proof import Proof
from tests.support.fast import replay, run_on_fast
from tests.support.traced import codes, difference, enlivened, exported

prepare_torchvision()

from timm import create_model  # noqa: E402

pytestmark = pytest.mark.slow

#: By timm's name: sizes, and the side of the pictures.
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "beit_base_patch16_224": ({"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 2}, 16),
    "cait_xxs24_224": (
        {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "depth_token_only": 1},
        16,
    ),
    "convnext_atto": ({"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}, 32),
    "eva02_tiny_patch14_224": ({"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 3}, 16),
    "pit_ti_224": (
        {
            "img_size": 32,
            "patch_size": 8,
            "stride": 4,
            "base_dims": (8, 8, 8),
            "depth": (1, 1, 1),
            "heads": (1, 2, 4),
            "mlp_ratio": 2,
        },
        32,
    ),
    "twins_pcpvt_small": (
        {
            "img_size": 32,
            "embed_dims": (8, 8, 8, 8),
            "depths": (1, 1, 1, 1),
            "num_heads": (1, 1, 2, 2),
            "mlp_ratios": (2, 2, 2, 2),
        },
        32,
    ),
    "xcit_nano_12_p16_224": ({"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2}, 32),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_family_of_timm_s_answers_on_shares(name: str) -> None:
    """Proven for every picture, exact in real arithmetic, close on integers, and the same on shares."""
    sizes, side = MODELS[name]
    module = enlivened(create_model(name, num_classes=4, **sizes))
    found = exported(module, side)
    assert Proof.of(found.program).calibrated == 0
    assert found.fidelity < 1e-3
    assert difference(module, found, side) < 0.05
    inputs = {"image": codes(side)[0]}
    run = run_on_fast(found.program, found.weights, inputs)
    assert np.array_equal(replay(run, found.weights, inputs), run.output)
