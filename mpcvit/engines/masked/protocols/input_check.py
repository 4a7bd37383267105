"""The ways to see that an input is one: by unit vectors, or for wide codes by a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.protocol import Form, Protocol
from mpcvit.engines.masked.protocols.input_check_by_dcf import InputCheckByDcf
from mpcvit.engines.masked.protocols.input_check_by_dpf import InputCheckByDpf
from mpcvit.ops import TensorType
from mpcvit.ops.input_check import InputCheck

#: Up to here a unit vector is the cheaper one: its expansion doubles with every bit.
_NARROW = 8


@runs(InputCheck)
def input_check(op: InputCheck, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol for codes of this width."""
    (x,) = inputs
    return [InputCheckByDpf(x.shape, op.bits) if op.bits <= _NARROW else InputCheckByDcf(x.shape, op.bits)]
