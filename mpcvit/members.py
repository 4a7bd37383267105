"""Registries without a list: what the modules of a package define is what there is.

All modules are imported, in the order of their names; the package may be calling while it is being imported itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def members(package: str, base: type[T]) -> list[type[T]]:
    """Return the subclasses of ``base`` that the modules of ``package`` define, but for abstract ones."""
    return [
        value
        for module in _modules(package)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
        if not inspect.isabstract(value)
    ]


def instances(package: str, kind: type[T]) -> list[T]:
    """Return the instances of ``kind`` that the modules of ``package`` hold by name."""
    return [value for module in _modules(package) for value in vars(module).values() if isinstance(value, kind)]


def _modules(package: str) -> Iterator[ModuleType]:
    for found in iter_modules(import_module(package).__path__):
        yield import_module(f"{package}.{found.name}")
