"""No module imports itself in a circle: not at the top, not for type checkers alone, not inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from tests.support.sources import modules

Graph = Mapping[str, set[str]]


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Yield the modules of ``known`` that a module imports, wherever in its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in known else node.module


def cycles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of more than one node, each sorted (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, set())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_modules_have_no_cycles() -> None:
    known = set(modules())
    graph = {name: set(imported(tree, known)) & known - {name} for name, tree in modules().items()}
    assert sum(map(len, graph.values())) > len(graph), "imports are found"
    assert cycles(graph) == []


def test_cycles_are_found() -> None:
    """Of two and of three modules; a path that meets itself is none."""
    graph = {"a": {"b"}, "b": {"a", "c"}, "c": {"d", "e"}, "d": {"e"}, "e": {"f"}, "f": {"g"}, "g": {"e"}}
    assert cycles(graph) == [["e", "f", "g"], ["a", "b"]]


def test_imports_are_found_wherever_they_are() -> None:
    source = "import p.a\nif TYPE_CHECKING:\n    from p import b\ndef f():\n    from p.c import X\nimport json"
    assert set(imported(ast.parse(source), {"p", "p.a", "p.b", "p.c"})) == {"p.a", "p.b", "p.c"}
