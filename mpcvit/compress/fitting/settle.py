"""Gradient steps between the steps of a pass: a model that lost something answers like the whole one again.

There are no labels: the loss is the divergence of the answers from those of the whole model (NViT, CVPR 2023, trains
with labels and a teacher besides).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import kl_div

from mpcvit.compress.fitting.calibration import BATCH
from mpcvit.models.vit import VisionTransformer


def settle(
    model: VisionTransformer, whole: VisionTransformer, images: torch.Tensor, *, steps: int, rate: float, seed: int
) -> None:
    """Train ``model`` in place, in eval mode, which keeps the statistics of batch norms.

    Args:
        whole: whose answers are wanted.
        images: normalised pictures, float [count, channels, size, size], of which every step sees 64, drawn anew.
        steps: of AdamW without weight decay, 0 for none.
        rate: learning rate at first; it falls along a cosine.
        seed: of the pictures.
    """
    if not steps:
        return
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        answers = torch.cat([whole(batch) for batch in images.split(BATCH)]).log_softmax(-1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(steps):
            chosen = torch.from_numpy(rng.permutation(len(images))[:BATCH])
            optimizer.zero_grad()
            got = model(images[chosen]).log_softmax(-1)
            kl_div(got, answers[chosen], reduction="batchmean", log_target=True).backward()
            optimizer.step()
            schedule.step()
    optimizer.zero_grad()
