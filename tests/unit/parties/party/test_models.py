"""Versions of models at a party."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mpcvit.errors import BudgetUnknown, ModelMismatch
from mpcvit.wire.manifest import Manifest
from parties.party.models import Models
from tests.support.stand_in import MANIFEST


def _share(**changes: Any) -> Any:
    return SimpleNamespace(manifest=replace(MANIFEST, **changes))


def _models(*shares: Any) -> Models:
    models = Models(SimpleNamespace(index=0, parties=2, owners=[], models=[]))  # type: ignore[arg-type]
    for share in shares:
        models.add(share)
    return models


def _listed(models: Models) -> list[str]:
    manifests: list[Manifest] = [model.manifest for model in models.all()]
    return [manifest.key for manifest in manifests]


def test_the_first_version_is_active_until_another_is_activated() -> None:
    """The active one is listed first, and found by its name alone."""
    one, two, other = _share(), _share(version="2"), _share(name="other")
    models = _models(one, two, other)
    assert _listed(models) == ["tiny:1", "tiny:2", "other:1"]
    assert models.get("tiny") is one
    assert models.get("tiny", "2") is two
    models.activate("tiny", "2")
    assert _listed(models) == ["tiny:2", "tiny:1", "other:1"]
    assert models.get("tiny") is two
    assert models.get("tiny", "1") is one
    assert [models.is_active(model) for model in (one, two, other)] == [False, True, True]


def test_what_is_not_loaded_is_no_model() -> None:
    """Nor can it be activated; one version is loaded once."""
    models = _models(_share())
    assert models.find("tiny", "2") is None
    for call in (lambda: models.get("tiny", "2"), lambda: models.get("x"), lambda: models.activate("tiny", "2")):
        with pytest.raises(ModelMismatch, match=r"one of \[\('tiny', '1'\)\]"):
            call()
    with pytest.raises(ModelMismatch, match="a second model 'tiny' of version '1'"):
        models.add(_share(share_set="ce" * 16))


def test_a_version_has_several_programs() -> None:
    """By budget, the whole model's without a name; activating a version activates all of its Programs."""
    one, fast, two = _share(), _share(budget="fast"), _share(version="2")
    models = _models(one, fast, two)
    assert _listed(models) == ["tiny:1", "tiny:1@fast", "tiny:2"]
    assert models.get("tiny") is models.find("tiny", "1") is one
    assert models.get("tiny", "", "fast") is models.get("tiny", "1", "fast") is fast
    assert models.programs(one) == [one, fast]
    assert models.is_active(fast)
    for version, budget in (("", "slow"), ("2", "fast")):
        with pytest.raises(BudgetUnknown, match=f"budget '{budget}'"):
            models.get("tiny", version, budget)
    models.activate("tiny", "2")
    assert not models.is_active(fast)
    with pytest.raises(BudgetUnknown, match="expected one of full"):
        models.get("tiny", "", "fast")
    with pytest.raises(ModelMismatch, match="a second model"):
        models.add(_share(budget="fast"))
