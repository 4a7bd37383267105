"""What every gate of a Program reads: the largest share of its window that pictures used."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mpcvit.program.program import Node, Program


@dataclass(frozen=True)
class Edge:
    """One end of what a gate reads.

    Attributes:
        node: the gate's name.
        op: its kind.
        upper: the largest codes, or else the least.
        value, bound: the most extreme value, and the end of the window there, in real numbers.
        picture: number of the picture that gave it.
        proven: whether the range of what the gate reads is proven.
    """

    node: str
    op: str
    upper: bool
    value: float
    bound: float
    picture: int
    proven: bool

    @property
    def left(self) -> bool:
        """Whether a picture left the window."""
        return self.value > self.bound if self.upper else self.value < self.bound

    @property
    def share(self) -> float:
        """The part of the window that was used: 1 at its end, more beyond. 0 within an end at 0."""
        if self.bound == 0 or self.value == 0:
            return float("inf") if self.left else 0.0
        inwards = (self.bound > 0 and not self.upper) or (self.bound < 0 and self.upper)
        return self.bound / self.value if inwards else self.value / self.bound


@dataclass
class Watch:
    """An observer of :func:`mpcvit.program.reference.run_reference` that refuses nothing and remembers extremes.

    Attributes:
        first: number of the first picture of the batch that is being run.
        outside: numbers of the pictures that left a window.
    """

    program: Program
    first: int = 0
    outside: set[int] = field(default_factory=set)
    _found: dict[tuple[str, bool], Edge] = field(default_factory=dict)

    def __call__(self, node: Node, codes: torch.Tensor, window: tuple[int, int]) -> None:
        flat = codes.flatten(1)
        least, largest = flat.amin(1), flat.amax(1)
        beyond = (least < window[0]) | (largest > window[1])
        self.outside.update(self.first + int(index) for index in beyond.nonzero())
        source = self.program.types[node.inputs[0]]
        proven = {n.name: n.proven for n in self.program.nodes}.get(node.inputs[0], True)
        for upper, ends, bound in ((True, largest, window[1]), (False, least, window[0])):
            place = int(ends.argmax() if upper else ends.argmin())
            value = float(ends[place]) * source.qtype.step
            known = self._found.get((node.name, upper))
            if known is None or (value > known.value if upper else value < known.value):
                edge = Edge(
                    node.name, node.op.name, upper, value, bound * source.qtype.step, self.first + place, proven
                )
                self._found[node.name, upper] = edge

    @property
    def edges(self) -> list[Edge]:
        """All ends, those that used most of their windows first."""
        return sorted(self._found.values(), key=lambda edge: (edge.left, edge.share), reverse=True)
