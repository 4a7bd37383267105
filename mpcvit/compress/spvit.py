"""SPViT (Kong et al., ECCV 2022) on a trained model; see :mod:`mpcvit.models.reduction.spvit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch.nn.functional import mse_loss

from mpcvit.compress.calibration import BATCH
from mpcvit.compress.compression import Report
from mpcvit.compress.token_selection import TokenSelection
from mpcvit.models.config import ReductionKind
from mpcvit.models.reduction import Spvit as Selector
from mpcvit.models.reduction.evit import evit_scores
from mpcvit.models.vit import Block, VisionTransformer

#: How selectors learn to imitate: steps on all pictures, learning rate.
_STEPS, _RATE = 200, 1e-2
#: Standard deviation of logits within a picture at first; that of the noise in training is 1.3.
_SPREAD = 3.0


@dataclass(frozen=True, kw_only=True)
class Spvit(TokenSelection):
    """Selectors before some blocks, and a package token for what each drops.

    Selectors are new. SPViT's begin at random and learn for 30 epochs to choose; these begin as imitations of EViT's
    scores in their blocks, fitted to calibration pictures, and so choose well before they are trained. What else is
    different here (fixed counts, one selector for all heads, a plain mean as the package) the module says.

    Attributes:
        seed: of the weights that selectors begin with.
    """

    name: ClassVar[str] = "spvit"
    kind: ClassVar[ReductionKind] = ReductionKind.SPVIT
    seed: int = 0

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Report) -> VisionTransformer:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.seed)
            smaller = super().apply(model, images, report).eval()  # selectors in training choose with noise
        for number in self.blocks:
            selector = cast(Block, smaller.blocks[number]).entry
            if isinstance(selector, Selector):  # none where everything is kept
                likeness = _imitate(smaller, number, selector, images)
                report(f"blocks.{number}: the selector's logits and EViT's scores correlate by {likeness:.2f}")
        return smaller


def _imitate(model: VisionTransformer, number: int, selector: Selector, images: torch.Tensor) -> float:
    """Fit the selector at the entry of a block to EViT's scores there, and return the correlation with them."""
    block, before = cast(Block, model.blocks[number]), f"block{number - 1}" if number else "embed"
    with torch.no_grad():
        stream_BND = torch.cat([model.intermediates(batch)[1][before] for batch in images.split(BATCH)])
        queries, keys, _ = block.attn.heads(block.norm1(stream_BND))
        wanted_BN = _standard(evit_scores(queries, keys, selector.own))
    rest_BND = stream_BND[:, selector.own :]
    optimiser = torch.optim.Adam(selector.parameters(), lr=_RATE)
    with torch.enable_grad():
        for _ in range(_STEPS):
            optimiser.zero_grad()
            logits_BN = selector.logits(rest_BND)
            # A constant added to all logits of a picture changes no order.
            mse_loss(logits_BN - logits_BN.mean(1, keepdim=True), _SPREAD * wanted_BN).backward()
            optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        return float((_standard(selector.logits(rest_BND)) * wanted_BN).mean())


def _standard(scores_BN: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 within every picture."""
    centred = scores_BN - scores_BN.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(centred.dtype).tiny)
