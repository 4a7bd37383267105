"""What the fast engine's plan minimises when an op can run in several ways: seconds per round, byte and key byte."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.errors import ConfigError
from mpcvit.link_profile import LAN, LOOPBACK, WAN, LinkProfile

#: Seconds that software adds to every message, measured between two processes over gRPC on one machine.
_MESSAGE_S = 0.5e-3


@dataclass(frozen=True)
class Objective:
    """Prices that protocols are chosen by.

    Attributes:
        name: what configuration files call it; parties and dealer must name the same.
        round_s: seconds per round.
        byte_s: seconds per byte that a party sends online.
        material_byte_s: seconds that a byte of dealer material is worth.
    """

    name: str
    round_s: float
    byte_s: float
    material_byte_s: float


def _objective(link: LinkProfile, material_byte_s: float) -> Objective:
    return Objective(link.name, link.delay_s + _MESSAGE_S, 1 / link.bytes_per_s, material_byte_s)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        _objective(LOOPBACK, 1e-9),
        _objective(LAN, 1e-9),
        _objective(WAN, 1e-9),
        Objective("rounds", 1.0, 0.0, 0.0),  # as few rounds as there can be, whatever the keys
        Objective("material", _MESSAGE_S, 0.0, 1e-6),  # rounds and bytes instead of keys
    )
}
DEFAULT_OBJECTIVE = OBJECTIVES["wan"]


def objective(name: str) -> Objective:
    """Return the objective called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f"objective '{name}'", expected=f"one of {', '.join(OBJECTIVES)}", remedy="Correct the configuration."
        )
    return OBJECTIVES[name]
