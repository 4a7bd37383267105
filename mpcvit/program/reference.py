"""The reference executor: a Program in clear, on int64 codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mpcvit.errors import ShapeMismatch
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes

Weights = Mapping[str, Codes]


def check_weights(program: Program, weights: Weights) -> None:
    """Raise :class:`ShapeMismatch` unless ``weights`` holds exactly the Program's parameters."""
    got = {name: tuple(codes.shape) for name, codes in weights.items()}
    expected = {name: kind.shape for name, kind in program.parameters.items()}
    if got != expected:
        wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
        raise ShapeMismatch(
            f"weights that differ from the Program in {', '.join(wrong[:5])}",
            expected="one tensor of the declared shape per parameter",
            remedy="Use the weights that were exported with this Program.",
        )


def run_reference(
    program: Program,
    weights: Weights,
    inputs: Mapping[str, Codes],
    roundings: Mapping[str, torch.Tensor] | None = None,
) -> Codes:
    """The output codes for a batch.

    Args:
        weights: codes of every parameter.
        inputs: codes of every input, each with one leading batch axis.
        roundings: by node, what it adds before it drops bits; to nearest where it is missing. Those that the dealer
            drew for a session of the fast engine replay that session bit for bit.

    Raises:
        ShapeMismatch: a tensor does not have the declared shape.
    """
    check_weights(program, weights)
    values: dict[str, Any] = {name: torch.from_numpy(np.asarray(codes)) for name, codes in weights.items()}
    for name, kind in program.inputs.items():
        if name not in inputs or tuple(inputs[name].shape[1:]) != kind.shape:
            raise ShapeMismatch(
                f"input '{name}' of shape {tuple(inputs[name].shape) if name in inputs else None}",
                expected=f"[batch, {', '.join(map(str, kind.shape))}]",
                remedy="Resize the picture to the model's input size.",
            )
        values[name] = torch.from_numpy(np.asarray(inputs[name]))
    for node, finished in program.in_order():
        rounding = roundings.get(node.name) if roundings else None
        values[node.name] = node.op.reference(*(values[name] for name in node.inputs), rounding=rounding)
        for name in finished:
            del values[name]
    output: Codes = values[program.output].numpy()
    return output
