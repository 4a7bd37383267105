"""Which layer gets which rank: the cheapest loss of accuracy per parameter saved, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcvit.compress.fitting.low_rank_fit import Spectrum
from mpcvit.errors import ConfigError


@dataclass(frozen=True)
class Candidate:
    """A layer that may become one of low rank."""

    inputs: int
    outputs: int
    spectrum: Spectrum

    def weights(self, rank: int) -> int:
        """Return the numbers in its matrices at ``rank``; 0 is an ordinary layer."""
        return rank * (self.inputs + self.outputs) if rank else self.inputs * self.outputs

    def error(self, rank: int) -> float:
        """Return the relative squared error of its outputs."""
        return self.spectrum.relative_error(rank) if rank else 0.0

    def ranks(self, step: int) -> range:
        """Return multiples of ``step`` below break-even, where two matrices have fewer numbers than one."""
        product, total = self.inputs * self.outputs, self.inputs + self.outputs
        return range(step, -(-product // total), step)


def allocate(layers: Sequence[Candidate], saving: int, step: int) -> list[int]:
    """Return the rank of each layer, 0 for those that stay as they are, so that ``saving`` weights or more are saved.

    Greedy: of all steps of a layer down to any lower rank, the one with the least increase of relative squared error
    per weight saved is taken, until enough are. A step may be long, so that the first one of a layer, which below
    break-even saves next to nothing, does not keep it from being considered. The last step is cut to what is needed.

    Raises:
        ConfigError: so many cannot be saved.
    """
    most = sum(layer.weights(0) - layer.weights(step) for layer in layers if step in layer.ranks(step))
    if saving > most:
        raise ConfigError(
            f"a saving of {saving:,} weights by ranks in steps of {step}",
            expected=f"at most {most:,}, with rank {step} everywhere",
            remedy="Ask for a smaller reduction, or smaller steps.",
        )
    ranks = [0] * len(layers)
    while saving > 0:
        _, number, rank = min(
            (_price(layer, ranks[number], rank), number, rank)
            for number, layer in enumerate(layers)
            for rank in layer.ranks(step)
            if ranks[number] == 0 or rank < ranks[number]
        )
        layer, now = layers[number], layers[number].weights(ranks[number])
        enough = [other for other in layer.ranks(step) if other >= rank and now - layer.weights(other) >= saving]
        ranks[number] = max(enough, default=rank)
        saving -= now - layer.weights(ranks[number])
    return ranks


def _price(layer: Candidate, rank: int, lower: int) -> float:
    """Increase of the error per weight saved."""
    return (layer.error(lower) - layer.error(rank)) / (layer.weights(rank) - layer.weights(lower))
