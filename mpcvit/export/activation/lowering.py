"""What the lowering of an activation is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpcvit.export.builder import Builder, Value
from mpcvit.models.kinds import Activation


@dataclass(frozen=True)
class ActivationLowering:
    """How an activation becomes ops.

    Attributes:
        lower: takes the builder, a name and the input, and gives the output, both at ordinary precision.
    """

    kind: Activation
    lower: Callable[[Builder, str, Value], Value]
