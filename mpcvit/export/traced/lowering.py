"""What the lowering of an ATen op is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpcvit.export.parts import Role
from mpcvit.export.traced.call import AtenCall, AtenResult


@dataclass(frozen=True)
class AtenLowering:
    """How calls of some ATen ops become ops of a Program.

    Attributes:
        ops: their names, without namespace and overload.
        lower: takes a call and gives its result.
        role: of the nodes that it adds.
    """

    ops: tuple[str, ...]
    lower: Callable[[AtenCall], AtenResult]
    role: Role = Role.MLP
