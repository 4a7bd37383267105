"""Networks between parties, as numbers: the cost model chooses protocols by them, benchmarks emulate them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mpcvit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LinkProfile:
    """A full mesh of equal links.

    Attributes:
        name: what the command line calls it.
        delay_s: time from one host to another, seconds one way; half of a ping.
        bytes_per_s: what one host can send to all others together; infinite where nothing limits it.
    """

    name: str
    delay_s: float
    bytes_per_s: float

    @property
    def emulated(self) -> bool:
        """Whether a benchmark must slow messages down to get this network."""
        return self.delay_s > 0 or math.isfinite(self.bytes_per_s)


LOOPBACK = LinkProfile(name="loopback", delay_s=0.0, bytes_per_s=math.inf)
"""Processes of one machine, as fast as it is."""
LAN = LinkProfile(name="lan", delay_s=0.15e-3, bytes_per_s=3e9 / 8)
"""One data centre: 0.15 ms one way, 3 Gbit/s."""
WAN = LinkProfile(name="wan", delay_s=20e-3, bytes_per_s=350e6 / 8)
"""Two cities: 20 ms one way, 350 Mbit/s."""

PROFILES = {profile.name: profile for profile in (LOOPBACK, LAN, WAN)}


def link_profile(name: str) -> LinkProfile:
    """Return the profile called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in PROFILES:
        raise InputError(
            f"network '{name}'", expected=f"one of {', '.join(PROFILES)}", remedy="Choose one of these networks."
        )
    return PROFILES[name]
