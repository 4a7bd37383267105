"""A type's name means one thing in all of the package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.support.sources import modules

#: An op of Programs and the layer of models that it computes have one name: the op's is in digests, the layer's is that
#: of its kind in configurations.
ALLOWED = {
    "Relu": {"mpcvit.ops.relu", "mpcvit.models.activation.relu"},
    "Square": {"mpcvit.ops.square", "mpcvit.models.attention.square"},
}


def types(tree: ast.Module) -> Iterator[str]:
    """Yield classes and type aliases of a module, but not private names, and not type variables: they are local."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            variable = isinstance(node.value, ast.Call)
            yield from (
                target.id for target in targets if isinstance(target, ast.Name) and _camel(target.id) and not variable
            )


def _camel(name: str) -> bool:
    """Whether ``name`` is written as types are."""
    return name[0].isupper() and not name.isupper()


def test_a_name_is_of_one_type() -> None:
    places = defaultdict(set)
    for module, tree in modules().items():
        for name in types(tree):
            if not name.startswith("_"):
                places[name].add(module)
    twice = {name: found for name, found in places.items() if len(found) > 1 and found != ALLOWED.get(name)}
    assert not twice


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class Fit: ...", ["Fit"]),
        ("Shape = tuple[int, ...]", ["Shape"]),
        ("Wire: TypeAlias = 'Shared | Masked'", ["Wire"]),
        ("Item = TypeVar('Item')", []),
        ("LIMIT = 3\nlog = 4", []),
    ],
)
def test_types_are_found(source: str, expected: list[str]) -> None:
    assert list(types(ast.parse(source))) == expected
