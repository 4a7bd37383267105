"""The reference executor: a Program in clear, on int64 codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from mpcvit.errors import RangeExceeded, ShapeMismatch
from mpcvit.program.program import Node, Program
from mpcvit.ring.fixed_point import Codes

Weights = Mapping[str, Codes]
#: Told about every gate before it is computed: the node, the codes [batch, ...] that decide whether it is right, and
#: the least and the largest of them for which it is.
Observer = Callable[[Node, torch.Tensor, tuple[int, int]], None]


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


def refuse_outside(node: Node, codes: torch.Tensor, window: tuple[int, int]) -> None:
    """Raise :class:`RangeExceeded` where the engine would go on with a wrong value."""
    if not codes.numel():
        return
    least, largest = codes.aminmax()
    if least < window[0] or largest > window[1]:
        raise RangeExceeded(
            f"a value outside the window of '{node.name}' ({node.op.name})",
            expected=f"codes from {window[0]} to {window[1]}, for which its protocol is right",
            remedy="Export the model with proven ranges, or with guards; see 'mpcvit model check'.",
        )


def run_reference(
    program: Program,
    weights: Weights,
    inputs: Mapping[str, Codes],
    roundings: Mapping[str, torch.Tensor] | None = None,
    observe: Observer = refuse_outside,
) -> Codes:
    """Return the output codes for a batch.

    Args:
        weights: codes of every parameter.
        inputs: codes of every input, each with one leading batch axis.
        roundings: by node, what it adds before it drops bits; to nearest where it is missing. Those that the dealer
            drew for a session of the fast engine replay that session bit for bit.
        observe: told about the input of every gate that is right in a window only.

    Raises:
        RangeExceeded: of :func:`refuse_outside`: a value leaves what the engine's gates handle.
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
        inputs_of = [values[name] for name in node.inputs]
        if (window := node.op.window(program.input_types(node))) is not None:
            observe(node, node.op.gated(*inputs_of), window)
        values[node.name] = node.op.reference(*inputs_of, rounding=rounding)
        for name in finished:
            del values[name]
    output: Codes = values[program.output].numpy()
    return output
