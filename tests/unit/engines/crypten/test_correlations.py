"""Correlations, and the provider that hands them out as planned."""

from __future__ import annotations

import pytest
import torch

from mpcvit.engines.crypten.correlations import (
    AndTriple,
    BitPair,
    Correlation,
    Product,
    ProductTriple,
    SquarePair,
    WrapPair,
)
from mpcvit.engines.crypten.material import MemoryMaterial
from mpcvit.engines.crypten.provider import Planned, Provider
from mpcvit.errors import (
    DealerLost,
    ProtocolViolation,
)
from mpcvit.ring.prg import Prg
from tests.support.secure import seed

CORRELATIONS: list[Correlation] = [
    ProductTriple(Product.MUL, (3, 1), (3, 4)),
    ProductTriple(Product.MATMUL, (2, 3, 4), (4, 5)),
    SquarePair((7,)),
    AndTriple((2, 3)),
    BitPair((50,)),
    WrapPair((50,)),
]


def _combine(correlation: Correlation, shares: list[torch.Tensor]) -> torch.Tensor:
    total = shares[0]
    for share in shares[1:]:
        total = total ^ share if isinstance(correlation, AndTriple) else total + share
    return total


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("correlation", CORRELATIONS, ids=lambda c: type(c).__name__)
def test_dealt_shares_satisfy_the_relation(correlation: Correlation, parties: int) -> None:
    """The parties' dependent shares combine to the function of their free shares; the sizes are the declared ones."""
    streams = lambda: [Prg(seed(party)).stream("c") for party in range(parties)]  # noqa: E731
    correction = correlation.deal(streams())
    assert 8 * correction.numel() == correlation.material_bytes(parties)[-1]
    taken = [
        correlation.take(stream, correction if party == parties - 1 else None) for party, stream in enumerate(streams())
    ]
    expected = correlation.dependent([shares[:-1] for shares in taken])
    assert torch.equal(_combine(correlation, [shares[-1] for shares in taken]), expected)
    assert expected.shape == correlation.dependent_shape


def _planned(*correlations: Correlation) -> list[Planned]:
    return [Planned("node", index, correlation) for index, correlation in enumerate(correlations)]


def test_provider_refuses_what_is_not_planned() -> None:
    """A request out of order, of another shape, or beyond the end means that this party left the Program."""
    provider = Provider(iter(_planned(SquarePair((2,)))), MemoryMaterial(seed(1), b""), last=False)
    with pytest.raises(ProtocolViolation, match="SquarePair"):
        provider.product(Product.MUL, (2,), (2,))
    with pytest.raises(ProtocolViolation, match="no further request"):
        provider.square((2,))


def test_material_that_ends_early_is_dealer_loss() -> None:
    """Corrections for another Program or too few bytes are noticed."""
    provider = Provider(iter(_planned(SquarePair((2,)))), MemoryMaterial(seed(1), b"123"), last=True)
    with pytest.raises(DealerLost, match="at least 16"):
        provider.square((2,))
