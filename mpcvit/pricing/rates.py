"""Seconds of what a party does on a network."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.link_profile import LinkProfile
from mpcvit.pricing.amounts import Amounts


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What software adds to the network's own seconds.

    Attributes:
        message_s: per round, for framing, gRPC and the scheduler.
        delay: how much longer a round is than the one-way delay, in parts of it: timers, processes that wake up.
        byte_s: per byte that a party sends: copies, masks, the check for ambiguous openings.
        mac_s: per multiply-accumulate.
        gate: factor on the protocols' own estimates for comparisons and splines.
        step_s: per protocol run: Python.
        element_s: per value written: memory.
    """

    message_s: float
    delay: float
    byte_s: float
    mac_s: float
    gate: float
    step_s: float
    element_s: float


#: Fitted by ``benchmarks/search_ranking.py --fit`` to its measurements on loopback and WAN (``benchmarks/results``,
#: 2026-11-21, two cores). The fit leaves nothing to bytes and products of models of this size.
RATES = Rates(message_s=1.3e-3, delay=0.065, byte_s=0.0, mac_s=0.0, gate=1.1, step_s=11e-6, element_s=3.6e-9)


def seconds(amounts: Amounts, profile: LinkProfile, rates: Rates = RATES) -> float:
    """Return the predicted seconds of one party's online phase on a network.

    Linear in the amounts, so that the parts of a model add up to the whole.
    """
    return (
        amounts.rounds * (profile.delay_s * (1 + rates.delay) + rates.message_s)
        + amounts.bytes_sent * (1 / profile.bytes_per_s + rates.byte_s)
        + amounts.macs * rates.mac_s
        + amounts.gate_s * rates.gate
        + amounts.steps * rates.step_s
        + amounts.elements * rates.element_s
    )
