"""How far a model's value ranges can be relied on."""

from __future__ import annotations

from enum import StrEnum


class Ranges(StrEnum):
    """What happens if a value would leave its range, where a gate is wrong without notice.

    ``PROVEN``: it cannot, whatever the picture. ``GUARDED``: ranges are those of calibration pictures; the client hears
    of a gate's input that leaves one, and gets no answer. ``CALIBRATED``: nobody notices, and the answer is wrong.
    """

    PROVEN = "proven"
    GUARDED = "guarded"
    CALIBRATED = "calibrated"
