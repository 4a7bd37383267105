"""Registries that find what the modules of a package define."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from mpcvit.compress.passes import PASSES
from mpcvit.members import instances, members
from mpcvit.quantize.config import Method
from mpcvit.quantize.methods import METHODS


def test_concrete_subclasses_are_found_where_they_are_defined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of modules and definitions; neither what is imported, nor abstract, nor of another base."""
    package = tmp_path / "shapes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "shape.py").write_text(
        "from abc import ABC, abstractmethod\n"
        "class Shape(ABC):\n    @abstractmethod\n    def area(self): ...\n"
        "class Flat(Shape):\n    def area(self): return 0\n"
    )
    (package / "round.py").write_text(
        "from shape import Flat, Shape\n"
        "class Oval(Shape): ...\n"
        "class Ring(Oval):\n    def area(self): return 3\n"
        "class Circle(Ring): ...\n"
        "class Area: ...\n"
    )
    (package / "edgy.py").write_text("from shapes.round import Ring\nfrom shape import Flat\nclass Square(Flat): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import shape

    assert [found.__name__ for found in members("shapes", shape.Shape)] == ["Square", "Ring", "Circle"]


def test_instances_are_found_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of modules and definitions."""
    package = tmp_path / "sizes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text("from fractions import Fraction\nhalf, third = Fraction(1, 2), Fraction(1, 3)\n")
    (package / "large.py").write_text("from fractions import Fraction\nlarge = Fraction(7)\nother = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert instances("sizes", Fraction) == [7, Fraction(1, 2), Fraction(1, 3)]


def test_every_method_has_a_file_of_its_name() -> None:
    """And no file has two."""
    assert METHODS.keys() == set(Method)
    assert {method: kind.__module__ for method, kind in METHODS.items()} == {
        method: f"mpcvit.quantize.methods.{method}" for method in Method
    }


def test_every_pass_has_a_file_of_its_name() -> None:
    """And no file has two."""
    assert {name: kind.__module__ for name, kind in PASSES.items()} == {
        name: f"mpcvit.compress.passes.{name}" for name in PASSES
    }
    assert {"evit", "mixed_rank", "token_schedule"} <= PASSES.keys()
