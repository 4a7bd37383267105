"""ReLU with the sign bit from a DPF comparison: one round, that of the selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpcvit.engines.masked.layout import CommonWords, Layout, Seeds
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Side
from mpcvit.engines.masked.protocols.relu_by_sign import Comparison, ReluBySign
from mpcvit.fss import compare
from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import TreeHash

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9


@dataclass(frozen=True)
class ReluByBit(ReluBySign):
    """The sign bit from a DPF comparison: no round but that of the selection."""

    def comparison_openings(self) -> tuple[int, ...]:
        return ()

    def comparison_layout(self) -> Layout:
        return Seeds(self.size), CommonWords((compare.levels(self.window.width) + 1, self.size, 2))

    def online_work_s(self) -> float:
        return self.size * _LEVEL_S * max(self.window.width - 6, 1)

    def deal_comparison(self, session: bytes, drawn: Values, low: Words) -> Values:
        (roots,) = drawn
        return (compare.deal(TreeHash.for_session(session), low, self.window.width, roots),)

    def prepare_comparison(self, side: Side, taken: Values) -> Any:
        return TreeHash.for_session(side.session), *taken

    def compare(self, party: int, state: Any, low: Words) -> Comparison:
        yield from ()
        tree_hash, root, key = state
        return compare.evaluate(tree_hash, party, root, key, low, self.window.width)
