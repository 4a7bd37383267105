"""ReLU: one op."""

from __future__ import annotations

from mpcvit.export.builder import Builder, Value


def lower_relu(b: Builder, name: str, x: Value) -> Value:
    """max(x, 0)."""
    return b.relu(name, x)
