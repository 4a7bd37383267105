"""The segmenter: logits in their places, its configuration and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.models.segmenter import Segmenter, SegmenterConfig
from mpcvit.store.trained import load_any_model, load_model, save_model
from tests.support.answers import IMAGES, make_segmenter
from tests.support.columns import varied
from tests.support.models import TINY


@pytest.mark.parametrize("cells", [1, 2])
def test_every_cell_reads_its_patch(cells: int) -> None:
    """The logits of cell (r, c) of a patch are rows of the head on the patch's token."""
    model = make_segmenter(classes=3, cells=cells)
    tokens, _ = model.vit.tokens(IMAGES[:2])
    logits = model(IMAGES[:2])
    assert logits.shape == (2, 3, 2 * cells, 2 * cells)
    head = model.vit.head(model.vit.norm(tokens)).reshape(2, 2, 2, 3, cells, cells)
    for patch_row, patch_column, row, column in ((0, 1, 0, cells - 1), (1, 0, cells - 1, 0)):
        found = logits[:, :, patch_row * cells + row, patch_column * cells + column]
        assert torch.equal(found, head[:, patch_row, patch_column, :, row, column])


def test_it_survives_its_files(tmp_path: Path) -> None:
    """The same logits; and commands for classifiers refuse it."""
    model = make_segmenter()
    save_model(model, tmp_path)
    again = load_any_model(tmp_path)
    assert isinstance(again, Segmenter)
    assert again.config == model.config
    assert torch.equal(again(IMAGES[:1]), model(IMAGES[:1]))
    with pytest.raises(ConfigError, match="segmenter"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "cells"),
    [({"classes": 6}, 2), ({}, 0), ({"class_token": True}, 1), ({"reduction": (None,), "classes": 2}, 2)],
)
def test_configurations_that_do_not_fit_are_refused(changes: dict, cells: int) -> None:
    """Logits that cells cannot share, no cells, a class token."""
    with pytest.raises(ConfigError):
        SegmenterConfig(vit=varied(TINY, **changes), cells=cells)
