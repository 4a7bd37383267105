"""Predicted effects of passes, against counts by hand and against each other."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.passes.minivit import MiniViT
from mpcvit.compress.pruning.prune import Kept, pruned
from mpcvit.export.builder import Precision
from mpcvit.export.factors import Factors
from mpcvit.models.block import LayerRanks
from mpcvit.pricing.footprint import effect, footprint
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, QUICK
from tests.support.models import make_model

IMAGES = make_images(BASE, 16)


def test_removed_units_are_counted() -> None:
    """A channel less is a row and a column of weights, a comparison, and an opening per token and layer."""
    model, tokens, gone = make_model(BASE), BASE.tokens, 4
    with torch.no_grad():  # channels that nobody reads, so that ranges and with them splines stay the same
        model.blocks[0].mlp.fc2.weight[:, -gone:] = 0
    kept = Kept.everything(BASE).with_channels(0, tuple(range(BASE.blocks[0].hidden - gone)))
    found = effect(model, pruned(model, kept), IMAGES, precision=QUICK)
    before, after = found.before, found.after
    assert before.parameters - after.parameters == gone * (2 * BASE.dim + 1)
    assert before.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert before.weight_bytes - after.weight_bytes == 8 * gone * 2 * BASE.dim
    # and two products per element: with the norm's factor, and in ReLU
    assert before.macs - after.macs == tokens * gone * (2 * BASE.dim + 2)
    assert before.comparisons - after.comparisons == tokens * gone
    assert before.rounds == after.rounds
    assert before.bytes_sent > after.bytes_sent
    assert found.shares()["rounds"] == 1.0
    assert found.shares()["parameters"] == after.parameters / before.parameters < 1
    assert json.loads(json.dumps(found.to_json()))["after"]["macs"] == after.macs


def test_sharing_saves_at_load_alone() -> None:
    """Inference costs stay; what is opened once per load falls by a block's matrices."""
    model = make_model(BASE)
    result = compress(model, MiniViT(transform=False), IMAGES)
    with torch.no_grad():  # the same function, so that ranges and with them keys are the same
        for name, parameter in result.named_parameters(remove_duplicate=False):
            model.get_parameter(name).copy_(parameter)
    found = effect(model, result, IMAGES, precision=QUICK)
    matrices = 12 * 36 + 12 * 12 + 2 * 12 * 16
    assert found.before.weight_bytes - found.after.weight_bytes == 8 * matrices
    assert replace(found.after, parameters=0, weight_bytes=0) == replace(found.before, parameters=0, weight_bytes=0)


@pytest.mark.parametrize("factors", list(Factors))
def test_noise_tells_rounds_and_products(factors: Factors) -> None:
    """Without pictures, rounds, products and weights are those with them."""
    model = make_model(varied(BASE, ranks=(LayerRanks(fc1=3), LayerRanks())), gain=1.0)
    seen, guessed = (
        footprint(model, images, factors=factors, precision=precision)
        for images, precision in ((IMAGES, QUICK), (None, Precision(margin=1.5, relative=2.0**-6)))
    )
    assert (seen.rounds, seen.weight_bytes) == (guessed.rounds, guessed.weight_bytes)
    assert guessed.macs == pytest.approx(seen.macs, rel=0.02)
