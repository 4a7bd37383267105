"""Presets of searches."""

from __future__ import annotations

import pytest

from mpcvit.errors import ConfigError
from mpcvit.search.presets import PRESETS, SearchStage, preset
from mpcvit.search.relaxed import RelaxedViT
from mpcvit.search.run import pictures_for


def test_presets_are_consistent() -> None:
    """Every preset's stages have what they need, its sizes fit, and it can be shortened."""
    for name in PRESETS:
        one = preset(name)
        assert one.name == name
        assert SearchStage.SAMPLE not in one.stages or one.space is not None
        if SearchStage.SUPERNET in one.stages or SearchStage.ANNEAL in one.stages:
            RelaxedViT(one.base, pair=one.pair, gate_axis=one.gate_axis)
        if one.space is not None:
            for end in one.space.ends():
                one.space.build(end)
        assert one.shortened(2).training.total_epochs == 2
    with pytest.raises(ConfigError, match="smoke"):
        preset("nothing")
    with pytest.raises(ConfigError, match="--data"):
        pictures_for(preset("pareto"))
