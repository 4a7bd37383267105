"""Where trials run."""

from __future__ import annotations

import pytest

from mpcvit.errors import ConfigError
from mpcvit.search.workers import Workers, workers


def test_workers_are_checked() -> None:
    """A number or ray; ray says how to install it where it is missing."""
    with pytest.raises(ConfigError, match="number of processes"), workers("many"):
        pass
    with pytest.raises(ConfigError, match="pip install"), workers("ray"):
        pass


def test_trials_on_other_processes() -> None:
    """A pool of processes has as many slots as asked for."""
    with workers("2") as pool:
        assert isinstance(pool, Workers)
        assert pool.slots == 2
        assert pool.executor.submit(max, 1, 2).result() == 2
