"""Models of unequal blocks, of low rank, with shared weights: float, reference, fast engine, stock and share files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mpcvit.export.factors import Factors
from mpcvit.export.vit import INPUT, Exported, export_vit
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.ring.sharing import join
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.shared import load_share, share_model
from mpcvit.wire.owners import ANYBODY
from tests.support.columns import column
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import QUICK, make_variant
from tests.support.secure import run_secure
from tests.support.structure_variants import STRUCTURES

#: Largest difference of logits, of size 1 to 10, between floating point and fixed point with coarse splines.
BOUND = 0.3
CASES = [
    *((name, Factors.MERGED) for name in STRUCTURES),
    *((name, Factors.KEPT) for name, config in STRUCTURES.items() if column(config, "ranks")),
]


@cache
def exported_structure(name: str, factors: Factors) -> tuple[Exported, Codes, np.ndarray]:
    """A tiny model, two images' codes, and their logits in floating point."""
    config = STRUCTURES[name]
    model, images = make_variant(config), make_images(config, 16, seed=3)
    exported = export_vit(model, images, QUICK, factors=factors)
    with torch.inference_mode():
        plain = model(images[:2]).numpy()
    return exported, pixel_codes(images[:2]), plain


@pytest.mark.parametrize(("name", "factors"), CASES)
def test_structures_are_the_reference_bit_for_bit(name: str, factors: Factors) -> None:
    """The Program is the model in real arithmetic; the fast engine gives the replayed reference at the planned cost."""
    exported, codes, plain = exported_structure(name, factors)
    assert exported.fidelity < 1e-9
    run = run_on_fast(exported.program, exported.weights, {INPUT: codes[0]})
    assert (run.output == replay(run, exported.weights, {INPUT: codes[0]})).all()
    assert np.abs(_real(exported, run.output) - plain[0]).max() < BOUND
    assert_cost(run)


@pytest.mark.parametrize(("name", "factors"), [("sharing", Factors.MERGED), ("everything", Factors.KEPT)])
def test_stock_shares_agree(name: str, factors: Factors) -> None:
    """Parameters with several readers and factors run on CrypTen's protocols, too."""
    exported, codes, _ = exported_structure(name, factors)
    reference = _real(exported, run_reference(exported.program, exported.weights, {INPUT: codes[:1]}))
    secure = run_secure(exported.program, exported.weights, {INPUT: codes[0]}).output
    assert np.abs(_real(exported, secure) - reference[0]).max() < BOUND


def test_a_shared_parameter_is_shared_and_stored_once(tmp_path: Path) -> None:
    """A group's matrix is in the weights and in a party's shares under one name, and survives the files."""
    exported, _, _ = exported_structure("sharing", Factors.MERGED)
    description = Description(
        name="grouped", version="1", labels=("a", "b", "c"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    ModelFolder(description, exported.program, exported.weights).save(tmp_path / "model")
    model = ModelFolder.load(tmp_path / "model")
    assert model.program == exported.program
    _, folders = share_model(model, 2, tmp_path / "shares")
    shares = [load_share(folder, index, ANYBODY).weights for index, folder in enumerate(folders)]
    assert not any(name.startswith("block1.fc2.matmul") for name in shares[0])
    for name, codes in exported.weights.items():
        assert np.array_equal(join([share[name] for share in shares]), codes)


def _real(exported: Exported, codes: Codes) -> np.ndarray:
    return decode(codes, exported.program.types[exported.program.output].frac)
