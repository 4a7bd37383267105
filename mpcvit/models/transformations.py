"""What tells blocks that share matrices apart (MiniViT, CVPR 2022, section 3.2): transformations of each block's own.

* Heads mix: the scores of head h become sum_i before[h, i] S_i, and its attention weights sum_i after[h, i] A_i. The
  attention function stands between, so both are linear in what surrounds it: ``before`` goes into wider queries,
  sum_i before[h, i] q_i k_i^T = [before[h, i] q_i]_i [k_i]_i^T, and ``after`` into wider values. Every kind of heads
  that has scores can be mixed that way, and scaling heads keep their linear-time form.
* What the MLP reads, x, becomes x + DWConv(x): a depthwise convolution over the grid of patches, a filter per channel.

Both begin as nothing: the identity, and filters of 0. Axes: B batch, H heads, N tokens, D width of a head, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from mpcvit.errors import ConfigError
from mpcvit.models.token_flow import Tokens


@dataclass(frozen=True, kw_only=True)
class Transformations:
    """What a block has of its own besides biases. Gains of norms are its own, too.

    Attributes:
        heads: whether scores and attention weights mix across heads.
        convolution: side of the filters in front of the MLP, odd; 0 for none.

    Raises:
        ConfigError: the side is even or negative.
    """

    heads: bool = True
    convolution: int = 3

    def __post_init__(self) -> None:
        if self.convolution < 0 or (self.convolution % 2 == 0 and self.convolution):
            raise ConfigError(
                f"filters of side {self.convolution}", expected="an odd side, or 0", remedy="Correct the configuration."
            )


class HeadMixing(nn.Module):
    """Mixtures of heads before and after the attention function.

    Attributes:
        before: [H, H], of scores; a row for every head that comes out.
        after: [H, H], of attention weights.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.eye(heads))
        self.after = nn.Parameter(torch.eye(heads))

    def widen(
        self, q_BHND: torch.Tensor, k_BHND: torch.Tensor, v_BHND: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values [B, H, N, H * D] whose heads are the mixed ones; see :meth:`join`."""
        count = len(self.before)
        queries = torch.einsum("hi,bind->bhnid", self.before, q_BHND).flatten(3)
        keys = k_BHND.transpose(1, 2).flatten(2)[:, None].expand(-1, count, -1, -1)
        values = torch.einsum("hi,bhnd->binhd", self.after, v_BHND).flatten(3)
        return queries, keys, values

    def join(self, output_BHNW: torch.Tensor) -> torch.Tensor:
        """Return [B, H, N, D] from what the wide heads gave [B, H, N, H * D]."""
        total_BNW = output_BHNW.sum(1)
        heads_BHND: torch.Tensor = total_BNW.unflatten(-1, (len(self.after), -1)).transpose(1, 2)
        return heads_BHND


class PatchConvolution(nn.Module):
    """x + DWConv(x) over the grid of patches, with zeros around it; other tokens stay.

    Args:
        width: W.
        side: of the filters, odd.
        tokens: whose patches lie on a grid.
    """

    def __init__(self, width: int, side: int, tokens: Tokens) -> None:
        super().__init__()
        assert tokens.side is not None  # noqa: S101 - the configuration is checked
        self.grid = tokens.side
        self.own = tokens.own
        self.weight = nn.Parameter(torch.zeros(width, 1, side, side))

    def forward(self, x_BNW: torch.Tensor) -> torch.Tensor:
        """Return tokens of the shape of ``x_BNW``."""
        grid_BWSS = x_BNW[:, self.own :].mT.unflatten(-1, (self.grid, self.grid))
        mixed_BWSS = conv2d(grid_BWSS, self.weight, padding=self.weight.shape[-1] // 2, groups=len(self.weight))
        return x_BNW + pad(mixed_BWSS.flatten(2).mT, (0, 0, self.own, 0))
