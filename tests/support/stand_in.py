"""A stand-in for a served model: its manifest, a picture, what it answers."""

from __future__ import annotations

import numpy as np

from mpcvit.inputs import InputSpec
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.wire.manifest import Manifest

MANIFEST = Manifest(
    name="tiny",
    version="1",
    program_sha256="ab" * 32,
    share_set="cd" * 16,
    parties=2,
    program_file_sha256="ef" * 32,
    share_sha256=("01" * 32, "23" * 32),
    input=InputSpec(shape=(3, 8, 8)),
    output_type=QType(frac=12, lo=-64, hi=64),
    labels=("a", "b", "c"),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def first_values(codes: Codes) -> Codes:
    """A stand-in for a model: the first three input values are the logits."""
    return codes.reshape(-1)[:3]
