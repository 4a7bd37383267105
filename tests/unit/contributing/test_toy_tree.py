"""The toy tree itself: scripts import the copy, and what was touched is known."""

from __future__ import annotations

import pytest

from tests.support.toy_tree import ToyTree


def test_scripts_import_the_copy(toy_tree: ToyTree) -> None:
    """Not the checkout, and with what was added."""
    toy_tree.add("mpcvit/toy.py", "ANSWER = 41\n")
    toy_tree.change("mpcvit/toy.py", "41", "42")
    printed = toy_tree.run("import mpcvit.toy as toy; print(toy.__file__, toy.ANSWER)")
    assert printed.split() == [str(toy_tree.root / "mpcvit/toy.py"), "42"]
    assert toy_tree.touched == ["mpcvit/toy.py"]


def test_a_script_that_fails_says_why(toy_tree: ToyTree) -> None:
    """Its traceback is the assertion's message."""
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        toy_tree.run("1 / 0")
