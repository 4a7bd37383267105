"""Vectors divided by their lengths, as of cosine attention, become one op: that quotient is known, others are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.nn.functional import normalize

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, shape_of

_LENGTH, _EUCLIDEAN = "linalg_vector_norm", 2


def unit_rows(input: torch.Tensor, dim: int, eps: float) -> torch.Tensor:
    """Return the input with vectors along ``dim`` of length 1, or less where they were shorter than ``eps``."""
    return normalize(input, dim=dim, eps=eps)


def join_unit_rows(traced: TracedGraph) -> None:
    """Replace x / max(|x|, eps), whose lengths may be repeated along their axis, by :func:`unit_rows`."""
    for node in list(traced.graph.nodes):
        found = _division(node)
        if found is not None:
            with traced.graph.inserting_before(node):
                joined = traced.graph.call_function(unit_rows, found)
            joined.meta = dict(node.meta)
            node.replace_all_uses_with(joined)
    traced.clean()


def _division(node: fx.Node) -> tuple[fx.Node, int, float] | None:
    """Return vectors, their axis and their least length, if ``node`` divides them by their lengths."""
    if op_of(node) != "div":
        return None
    x: Any = node.args[0]
    length: Any = node.args[1]
    least = 0.0
    if _op(length) == "expand":
        length = _input(length)
    if _op(length) in ("clamp_min", "clamp"):
        arguments = arguments_of(length)
        if arguments.get("max") is not None or not isinstance(arguments["min"], int | float):
            return None
        least, length = float(arguments["min"]), _input(length)
    if _op(length) != _LENGTH or _input(length) is not x or shape_of(node) != shape_of(x):
        return None
    arguments = arguments_of(length)
    dims = arguments["dim"] or []
    if arguments["ord"] != _EUCLIDEAN or len(dims) != 1 or not arguments["keepdim"]:
        return None
    return x, dims[0] % len(shape_of(x)), least


def _op(argument: Any) -> str:
    """Return the op that an argument of a call is the result of; empty for none."""
    return op_of(argument) if isinstance(argument, fx.Node) else ""


def _input(node: Any) -> Any:
    return arguments_of(node)["input"]
