"""Fixtures that unit tests of several packages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.link_profile import WAN
from mpcvit.pricing.table import PriceTable
from tests.support.searches import table


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of probes that the tests share."""
    return tmp_path_factory.mktemp("prices")


@pytest.fixture
def prices(probes: Path) -> PriceTable:
    """Prices on a WAN."""
    return table(WAN, probes)
