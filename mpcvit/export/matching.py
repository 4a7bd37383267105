"""Whether an embedding is like a secret reference: one bit, without a division or a root.

For a threshold t > 0, cos(e, r) >= t is <e, r / (t |r|)> >= |e|: both sides squared, and the left one at least 0. The
owner of the reference puts r / (t |r|) in (:mod:`mpcvit.store.enrolment`), so that normalising it costs nothing.
"""

from __future__ import annotations

import math

from mpcvit.export.builder import Builder, Value
from mpcvit.store.enrolment import REFERENCE
from mpcvit.wire.reveal import Disclosure


def matches(b: Builder, embedding: Value, reveal: Disclosure) -> Value:
    """Return [1]: 1 where the cosine of ``embedding`` [D] and the reference is at least the threshold, else 0.

    An embedding of zeros, and a reference that nobody has put in yet, match nothing. Ranges hold for every reference,
    so that the Program is the same for all.
    """
    assert reveal.threshold is not None  # noqa: S101 - a disclosure is checked
    (count,) = embedding.type.shape
    row = b.reshape("match.embedding", embedding, 1, count)
    reference = b.reference(REFERENCE, count, 1.0 / reveal.threshold)
    step = embedding.type.qtype.step
    longest = float(row.assumed.magnitude.norm()) * step
    # Cauchy-Schwarz, with a reference whose elements are rounded to codes
    reach = longest * (1.0 / reveal.threshold + math.sqrt(count) * reference.type.qtype.step / 2)
    product = b.read_by("match.product", row, reference, (-reach, reach))
    product = b.rescale("match.projection", product, embedding.type.frac)
    reach += step
    squared = b.square("match.projection.square", product, (0.0, reach**2))
    length = b.sum("match.length", b.square("match.squares", row), axis=-1)
    known = (-(longest**2), reach**2)
    excess = b.add("match.excess", squared, b.scale("match.less", length, -1.0, 0), known)
    # more by a code at least: zeros are not like zeros
    excess = b.offset("match.strict", excess, -excess.type.qtype.step, (known[0] - excess.type.qtype.step, known[1]))
    ahead, enough = b.nonnegative("match.ahead", product), b.nonnegative("match.enough", excess)
    bit = (0.0, 1.0)  # whatever is true of the calibration pictures, which are compared with nobody's reference
    return b.reshape("match", b.multiply("match.both", ahead, enough, bit), 1, bounds=bit)
