"""One call of an ATen op, as a lowering sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mpcvit.errors import ConfigError
from mpcvit.export.builder import Builder, Value
from mpcvit.export.traced.lengths import Lengths
from mpcvit.export.traced.rows.pending import Movement, Pending, PendingRows

#: What a node of a traced graph becomes: a secret value, or several of them.
AtenResult = Value | Pending | tuple[Any, ...]


@dataclass(frozen=True)
class AtenCall:
    """A call with its arguments lowered.

    Attributes:
        name: of its result; values that are made on the way have names that begin with it.
        op: without namespace, such as ``layer_norm``.
        shape: of the result, the leading 1 of the picture included; empty for tuples.
        arguments: by the names of the op's schema (``self`` is ``input``): :data:`AtenResult` for what depends on the
            picture, tensors for constants, public numbers.
        rescaled: by name, values at ordinary precision, of all calls of a graph.
        lengths: what is known of vectors of channels, of all calls of a graph.
    """

    b: Builder
    name: str
    path: str
    op: str
    shape: tuple[int, ...]
    arguments: Mapping[str, Any]
    node: fx.Node
    rescaled: dict[str, Value]
    lengths: Lengths

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def get(self, argument: str, default: Any = None) -> Any:
        """Return an argument that only some overloads have."""
        return self.arguments.get(argument, default)

    def exact(self, argument: str = "input") -> Value:
        """Return an argument as one secret value, with as many fractional bits as it has."""
        return self.whole(self.arguments[argument])

    def whole(self, lowered: Any) -> Value:
        """Return what depends on the picture as one value."""
        if isinstance(lowered, Pending):
            return lowered.value(self.b)
        if isinstance(lowered, Value):
            return lowered
        raise self.unsupported("a tensor that depends on the picture in this place")

    def ordinary(self, argument: str = "input") -> Value:
        """Return an argument as one secret value of at most ordinary precision: ready for a product."""
        return self.shortened(self.arguments[argument])

    def shortened(self, lowered: Any) -> Value:
        """Return what depends on the picture with at most the ordinary number of fractional bits."""
        x = self.whole(lowered)
        if x.type.frac <= self.b.precision.frac:
            return x
        if x.name not in self.rescaled:
            short = self.b.rescale(f"{x.name}.rescaled", x)
            self.rescaled[x.name] = self.lengths.rounded(x, short)
        return self.rescaled[x.name]

    def gate_input(self, argument: str = "input") -> Value:
        """Return an argument as a comparison reads it: coarser than usual where its result may be
        (:attr:`mpcvit.export.builder.Precision.steps`, under the name of the call and ``.read``).
        """
        x, name = self.exact(argument), f"{self.name}.read"
        coarse = self.b.frac(name) < min(self.b.precision.frac, x.type.frac)
        return self.lengths.rounded(x, self.b.rescale(name, x)) if coarse else self.shortened(x)

    def tensor(self, argument: str) -> torch.Tensor | None:
        """Return a constant tensor argument; None for what is none."""
        found = self.arguments.get(argument)
        return found if isinstance(found, torch.Tensor) else None

    def move_rows(self, move: Movement, *, rows: bool, part: str = "") -> AtenResult:
        """Return ``move`` of the input: of its parts, where it is pending and ``rows`` stay rows.

        Args:
            part: of the result's name, where a call has several results.
        """
        x, name = self["input"], self.name + part
        return x.moved(name, move) if rows and isinstance(x, PendingRows) else move(name, self.exact())

    def unsupported(self, expected: str) -> ConfigError:
        """Return the error that says what of this call has no lowering."""
        return unsupported_call(self.path, self.op, shapes(self.arguments), expected)


def shapes(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the tensors among ``arguments`` by name, as shapes, and public arguments as they are."""
    found = {}
    for name, argument in arguments.items():
        shown = _shown(argument)
        if shown is not None:
            found[name] = shown
    return found


def _shown(argument: Any) -> str | None:
    if isinstance(argument, Value):
        return str(list(argument.type.shape))
    if isinstance(argument, Pending | torch.Tensor):
        return str(list(argument.shape))
    if isinstance(argument, list | tuple) and any(
        isinstance(part, Value | Pending | torch.Tensor) for part in argument
    ):
        return ", ".join(_shown(part) or "none" for part in argument)
    return None if argument is None else str(argument)


def unsupported_call(path: str, op: str, arguments: Mapping[str, str], expected: str) -> ConfigError:
    """Return the error for a call without a lowering."""
    listed = ", ".join(f"{name}={shape}" for name, shape in arguments.items())
    return ConfigError(
        f"in module '{path or 'the outermost'}', the op {op}({listed})",
        expected=expected,
        remedy="Write this part of the module with other ops, or leave it out; what is supported, and the ways around "
        "what is not, are in docs/modules.md.",
    )


def axis_of(dim: int, shape: Sequence[int]) -> int:
    """Return ``dim`` counted from the end."""
    return dim if dim < 0 else dim - len(shape)
