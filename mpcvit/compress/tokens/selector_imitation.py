"""First weights of SPViT's selectors: they imitate EViT's scores in their blocks.

SPViT's selectors begin at random and learn for 30 epochs what to choose. These are fitted to calibration pictures, and
so choose well before they are trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch.nn.functional import mse_loss

from mpcvit.compress.compression import Notify
from mpcvit.compress.fitting.calibration import BATCH
from mpcvit.models.reduction.evit import evit_scores
from mpcvit.models.reduction.spvit import SpvitReduction
from mpcvit.models.vit import Block, VisionTransformer

#: How selectors learn to imitate: steps on all pictures, learning rate.
_STEPS, _RATE = 200, 1e-2
#: Standard deviation of logits within a picture at first; that of the noise in training is 1.3.
_SPREAD = 3.0


def imitate_scores(
    model: VisionTransformer, smaller: VisionTransformer, blocks: Iterable[int], images: torch.Tensor, report: Notify
) -> None:
    """Fit the selectors of ``smaller`` in ``blocks`` in place, and leave ``smaller`` in eval mode.

    Args:
        model: what ``smaller`` was made of; the scores of its blocks are imitated.
        blocks: where selectors are new; those without one are passed over.
        images: normalised pictures, float [count, channels, size, size].
        report: is told how well each one fits.
    """
    smaller.eval()  # in training, selectors choose with noise
    for number in blocks:
        selector = cast(Block, smaller.blocks[number]).entry
        if isinstance(selector, SpvitReduction):  # none where everything is kept
            likeness = _imitate(model, number, selector, images)
            report(f"blocks.{number}: the selector's logits and EViT's scores correlate by {likeness:.2f}")


def _imitate(model: VisionTransformer, number: int, selector: SpvitReduction, images: torch.Tensor) -> float:
    """Return the correlation of the selector's logits with EViT's scores in a block, when the one is fitted to the
    other.
    """
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
    """Return mean 0 and variance 1 within every picture."""
    centred = scores_BN - scores_BN.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(torch.finfo(centred.dtype).tiny)
