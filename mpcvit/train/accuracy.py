"""How often a model is right."""

from __future__ import annotations

import torch

from mpcvit.data.data_set import DataSet
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise


@torch.inference_mode()
def accuracy(model: torch.nn.Module, images: ImageSet, data: DataSet, device: torch.device, batch: int = 500) -> float:
    """Return Top-1 accuracy in [0, 1] of ``model``, which is put in eval mode, with the pixel statistics of
    ``data``.
    """
    model.eval()
    hits = 0
    for start in range(0, len(images), batch):
        batch_images = normalise(images.images[start : start + batch], data.mean, data.std)
        logits = model(batch_images.to(device))
        hits += int((logits.argmax(1).cpu().numpy() == images.labels[start : start + batch]).sum())
    return hits / len(images)
