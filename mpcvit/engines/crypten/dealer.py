"""The dealer's reader: which correlated randomness a Program consumes, and dealing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from mpcvit.engines.crypten.kernel import kernel_for
from mpcvit.engines.crypten.material import MemoryMaterial
from mpcvit.engines.crypten.provider import Planned
from mpcvit.program.program import Program
from mpcvit.ring.prg import Prg


def plan(program: Program, parties: int) -> Iterator[Planned]:
    """Yield every correlation that the stock executor will consume, in order."""
    for node in program.nodes:
        correlations = kernel_for(node.op).correlations(program.input_types(node), parties)
        for index, correlation in enumerate(correlations):
            yield Planned(node.name, index, correlation)


def corrections(program: Program, seeds: Sequence[bytes | bytearray]) -> Iterator[memoryview]:
    """Yield the last party's corrections, one piece per correlation, in order.

    Args:
        seeds: every party's 32-byte session seed, in party order. Each set of seeds serves one session.
    """
    prgs = [Prg(seed) for seed in seeds]
    for planned in plan(program, len(seeds)):
        correction: torch.Tensor = planned.correlation.deal([planned.stream(prg) for prg in prgs])
        yield correction.contiguous().numpy().reshape(-1).data.cast("B")


def deal(program: Program, parties: int, prg: Prg) -> list[MemoryMaterial]:
    """Return every party's material for one session, in memory, from the dealer's generator ``prg``."""
    seeds = [prg.derive("party", party) for party in range(parties)]
    last = b"".join(corrections(program, seeds))
    return [MemoryMaterial(seed, last if party == parties - 1 else b"") for party, seed in enumerate(seeds)]
