"""The modules of the package, read and not imported."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = (ROOT / "mpcvit" / "wire" / "v1", ROOT / "parties" / "party" / "open_inference" / "stubs")


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of ``mpcvit`` and ``parties`` by its name; generated ones are left out."""
    found = {}
    for package in ("mpcvit", "parties"):
        for file in sorted((ROOT / package).rglob("*.py")):
            if file.parent in GENERATED:
                continue
            parts = file.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(file.read_text())
    return found
