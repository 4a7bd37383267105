"""The copy of the package that these tests extend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.toy_tree import ToyTree


@pytest.fixture
def toy_tree(tmp_path: Path) -> ToyTree:
    """A fresh copy of the sources."""
    return ToyTree.copied_to(tmp_path)
