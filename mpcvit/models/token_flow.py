"""How many tokens there are in every block, and whether they still lie on a grid.

A count is fixed by the configuration, never by a picture: under MPC shapes are public.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isqrt

from mpcvit.errors import ConfigError
from mpcvit.models.kinds import Ranking, ReductionKind


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """Fewer tokens from one place of a block on.

    ``evit``: between attention and MLP. ``spvit`` and ``window_pool``: at the entry of the block.

    Attributes:
        keep: tokens that are left, the class token among them, at least 1. Selections add one for what they drop.
        ranking: of EViT's tokens.

    Raises:
        ConfigError: ``keep`` is not positive, or another kind than EViT is to rank by attention.
    """

    kind: ReductionKind
    keep: int
    ranking: Ranking = Ranking.PRODUCTS

    def __post_init__(self) -> None:
        if self.ranking is not Ranking.PRODUCTS and self.kind is not ReductionKind.EVIT:
            raise ConfigError(
                f"ranking by {self.ranking} in {self.kind}",
                expected=f"the kind {ReductionKind.EVIT}",
                remedy="Leave 'ranking' out, or choose EViT.",
            )
        if self.keep < 1:
            raise ConfigError(
                f"a reduction to {self.keep} tokens",
                expected="at least 1",
                remedy="Keep more tokens, or reduce nothing.",
            )


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The tokens at one place of a model.

    Attributes:
        count: all of them.
        own: those before the patches that are no patches: a class token, registers, prompts.
        side: patches in a row of their grid, and in a column; None once some were selected.
    """

    count: int
    own: int
    side: int | None

    def reduced(self, reduction: Reduction) -> Tokens:
        """Return the tokens that ``reduction`` leaves.

        Raises:
            ConfigError: it cannot be done here.
        """
        if reduction.kind.facts.selects:
            return self._selected(reduction)
        return self._pooled(reduction)

    def _selected(self, reduction: Reduction) -> Tokens:
        if not self.own < reduction.keep < self.count:
            raise ConfigError(
                f"{reduction.kind} that keeps {reduction.keep} of {self.count} tokens",
                expected=f"{self.own + 1} to {self.count - 1}: one besides a class token and its like, and one to drop",
                remedy="Correct 'keep'; for a block that drops nothing put no reduction.",
            )
        return replace(self, count=reduction.keep + 1, side=None)

    def _pooled(self, reduction: Reduction) -> Tokens:
        side = isqrt(max(reduction.keep - self.own, 0))
        fits = side**2 == reduction.keep - self.own and 0 < side < (self.side or 0)
        if self.side is None or not fits or self.side % side:
            where = "tokens that are no grid" if self.side is None else f"a grid of {self.side} x {self.side} patches"
            raise ConfigError(
                f"{reduction.kind} to {reduction.keep} tokens, {self.own} of them no patches, on {where}",
                expected="a grid, and a smaller square number of patches whose side divides the grid's",
                remedy="Pool before tokens are selected, to half the side, for instance.",
            )
        return replace(self, count=reduction.keep, side=side)


@dataclass(frozen=True, kw_only=True)
class BlockTokens:
    """The tokens in one block.

    Attributes:
        entry: of the stream that comes in.
        attention: that the attention reads.
        mlp: that the MLP reads, and that go out.
    """

    entry: Tokens
    attention: Tokens
    mlp: Tokens


def token_flow(tokens: Tokens, reductions: Sequence[Reduction | None]) -> Iterator[BlockTokens]:
    """Yield the tokens of every block, ``tokens`` entering the first.

    Raises:
        ConfigError: a reduction cannot be done where it is.
    """
    for number, reduction in enumerate(reductions):
        entry = attention = mlp = tokens
        if reduction is not None:
            try:
                mlp = tokens.reduced(reduction)
            except ConfigError as error:
                raise ConfigError(
                    f"in block {number}: {error.got}", expected=error.expected, remedy=error.remedy
                ) from error
            attention = entry if reduction.kind.facts.behind_attention else mlp
        yield BlockTokens(entry=entry, attention=attention, mlp=mlp)
        tokens = mlp
