"""All kinds of quantizers by the names that files have for them."""

from __future__ import annotations

from mpcvit.members import members
from mpcvit.quantize.quantizers.quantizer import Quantizer

QUANTIZERS = {
    quantizer.kind: quantizer
    for quantizer in members("mpcvit.quantize.quantizers", Quantizer)  # type: ignore[type-abstract]
}
