"""Configurations of training, and the recipes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.train.batches import make_batches
from mpcvit.train.config import TrainConfig
from mpcvit.train.recipes import RECIPES
from mpcvit.train.replica import Replica
from mpcvit.train.run import build_model
from tests.support.training import CONFIG, CPU


def test_impossible_configurations_are_refused(images: ImageSet) -> None:
    """Each says what to correct."""
    with pytest.raises(ConfigError, match="no auto_augment"):
        replace(CONFIG, auto_augment="rand-m9")
    with pytest.raises(ConfigError, match="even batches"):
        replace(CONFIG, mixup=0.5, batch_size=15)
    with pytest.raises(ConfigError, match="at least one epoch"):
        replace(CONFIG, epochs=0)
    with pytest.raises(ConfigError, match="numbers from 0"):
        replace(CONFIG, selector_rate=-0.1)
    with pytest.raises(ConfigError, match="0 to 1"):
        replace(CONFIG, crop_scale=1.5)
    with pytest.raises(ConfigError, match="full batches"):
        make_batches(replace(CONFIG, batch_size=128), images, Replica(CPU), 0)
    with pytest.raises(ConfigError, match="equal numbers of classes"):
        build_model(CONFIG, 10)
    with pytest.raises(ConfigError, match="a preset"):
        build_model(TrainConfig(model="no_such_model", epochs=1), 10)
    with pytest.raises(ConfigError, match="one of cifar10, cifar100, tinyimagenet"):
        data_set("mnist")


def test_a_shortened_run_keeps_its_proportions() -> None:
    """Warm-up and mixing shrink with the epochs; the cooldown goes; never longer than before."""
    config = RECIPES["mpcvit_cifar10_teacher"]()
    short = config.shortened(30)
    assert (short.epochs, short.total_epochs, short.warmup_epochs, short.mixup_epochs) == (30, 30, 1, 18)
    assert config.shortened(1000) == config


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_builds_its_model(name: str) -> None:
    """Recipes build for their data set; docstrings begin with a sentence, and promise something or say not measured."""
    recipe = RECIPES[name]
    config = recipe()
    data = data_set(config.data)
    model = build_model(config, data.classes)
    assert model.config.image_size == data.image_size
    assert (recipe.__doc__ or "").partition("\n")[0].endswith(".")
    promise = " ".join((recipe.__doc__ or "").split())
    assert "Expect 8" in promise or "not measured yet" in promise
