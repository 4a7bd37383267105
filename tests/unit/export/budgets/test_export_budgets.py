"""Several Programs of one set of weights, as export makes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.export.budgets.export import export_budgets, export_model_budgets
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.kinds import Activation
from mpcvit.models.prefix import Prefix, prefixed
from mpcvit.program.reference import run_reference
from mpcvit.wire.reveal import Disclosure
from tests.support.budgets import BUDGETS, budget_model, exported_budgets
from tests.support.columns import varied
from tests.support.efficientformers import SMALL as EFFICIENTFORMER
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import BASE, QUICK
from tests.support.models import make_model


def test_the_whole_model_is_exported_as_without_budgets() -> None:
    """The same Program and codes: whoever serves it sees no difference."""
    model, images = budget_model()
    alone, whole = export_vit(model, images, QUICK), exported_budgets()[0]
    assert whole.program.digest == alone.program.digest
    assert all((whole.weights[name] == codes).all() for name, codes in alone.weights.items())


@pytest.mark.parametrize("name", BUDGETS)
def test_every_budget_computes_its_part_of_the_model(name: str) -> None:
    """In real arithmetic, and its reference is close to the part in floats."""
    model, images = budget_model()
    part = exported_budgets()[1][name].exported
    assert part.fidelity < 1e-9
    logits = run_reference(part.program, part.weights, {"image": pixel_codes(images)})
    scaled = logits / 2.0 ** part.program.types[part.program.output].frac
    with torch.inference_mode():
        expected = prefixed(model, BUDGETS[name])(images).numpy()
    assert np.abs(scaled - expected).max() < 0.1


@pytest.mark.parametrize("name", BUDGETS)
def test_matrices_are_slices_of_the_whole_models_codes(name: str) -> None:
    """All of them; what is stored besides is biases, few numbers. Types are the whole's, too."""
    whole, parts = exported_budgets()
    part = parts[name]
    for parameter, view in part.views.items():
        assert (view.read(whole.weights[view.stored]) == part.exported.weights[parameter]).all()
        kind, stored = part.exported.program.parameters[parameter], whole.program.parameters[view.stored]
        assert kind.qtype == stored.qtype
    assert all(parameter.endswith(".bias") for parameter in part.own)
    assert set(part.own).isdisjoint(part.views)
    assert sum(codes.size for codes in part.own.values()) < 0.1 * sum(codes.size for codes in whole.weights.values())


def test_columns_of_heads_follow_the_order_in_which_heads_are_folded() -> None:
    """Scaling heads come first: of three heads, the first two are the columns 0 to 4 and 8 to 12."""
    views = exported_budgets()[1]["thin"].views
    assert views["block0.attn.proj.matmul.weight"].runs == (((0, 4), (8, 12)), ())
    assert views["block0.attn.norm_qkv.matmul.weight"].runs[1] == tuple(
        (12 * part + start, 12 * part + start + 4) for part in range(3) for start in (0, 8)
    )


@pytest.mark.slow
def test_activations_are_read_in_the_whole_models_unit() -> None:
    """With proven ranges a layer before GELU is stretched to fill a grid; its slices are in the same unit."""
    config = varied(BASE, activation=(Activation.GELU,) * 2)
    model, images = make_model(config, gain=1.5), make_images(config, 8)
    whole, parts = export_budgets(model, {"thin": Prefix(hidden=6)}, images, Precision(relative=2.0**-6))
    assert set(whole.units) == {"block0.fc1", "block1.fc1"}
    assert parts["thin"].exported.units == whole.units
    assert "block1.norm_fc1.matmul.weight" in parts["thin"].views
    alone = export_vit(prefixed(model, Prefix(hidden=6)), images, Precision(relative=2.0**-6))
    assert alone.units != whole.units


def test_models_without_parts_are_refused() -> None:
    """Another family, and an answer whose reference is put in later."""
    from mpcvit.models.efficientformer import EfficientFormer

    model, images = budget_model()
    with pytest.raises(ConfigError, match="a ViT"):
        export_model_budgets(EfficientFormer(EFFICIENTFORMER), BUDGETS, images, QUICK)
    with pytest.raises(ConfigError, match="matches"):
        export_budgets(model, BUDGETS, images, QUICK, Disclosure.parse("match", None, 0.5))
