"""The price of a configuration: seconds of one secure inference on a network, by part of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mpcvit.link_profile import LinkProfile
from mpcvit.pricing.amounts import Amounts, ModelAmounts, in_parallel
from mpcvit.pricing.rates import RATES, Rates, seconds


@dataclass(frozen=True, kw_only=True)
class Price:
    """A configuration's price on one network.

    Attributes:
        network: the link profile's name.
        seconds: predicted, online, of one inference.
        rounds, bytes_sent: of it, the session's setup apart; bytes per party.
        material_bytes: what the dealer sends to both parties ahead of it.
        parts: seconds by part of the model, in order; they add up to ``seconds``.
    """

    network: str
    seconds: float
    rounds: int
    bytes_sent: int
    material_bytes: int
    parts: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, amounts: ModelAmounts, profile: LinkProfile, rates: Rates = RATES) -> Price:
        """Return the price of a model that does these amounts."""
        total = amounts.total
        parts = tuple((name, seconds(part, profile, rates)) for name, part in _parts(amounts))
        return cls(
            network=profile.name,
            seconds=sum(part for _, part in parts),
            rounds=total.rounds,
            bytes_sent=total.bytes_sent,
            material_bytes=total.material_bytes,
            parts=parts,
        )


def _parts(amounts: ModelAmounts) -> Iterator[tuple[str, Amounts]]:
    yield "stem", amounts.stem
    for number, block in enumerate(amounts.blocks):
        yield f"block{number}.attention", block.shared + in_parallel(block.groups.values())
        yield f"block{number}.mlp", block.mlp
    yield "head", amounts.head
