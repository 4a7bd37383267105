"""Pictures that tests of training share."""

from __future__ import annotations

import pytest

from mpcvit.data.image_set import ImageSet
from tests.support.training import dark_and_bright


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Pictures of 8 x 8 pixels."""
    return dark_and_bright(8)
