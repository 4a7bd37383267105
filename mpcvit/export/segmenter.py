"""From trained Segmenter to Program: the ViT, its head on every token, cells laid out as a map."""

from __future__ import annotations

import torch

from mpcvit.export.answer import check_reveal
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.exported import Exported, begin, finish
from mpcvit.export.factors import Factors
from mpcvit.export.fold import fold
from mpcvit.export.folded import FoldedViT
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.normalise import normalised_affine
from mpcvit.export.parts import Role
from mpcvit.export.positions import pixel_shuffle
from mpcvit.export.vit import ResidualStream, joined, lower_blocks
from mpcvit.models.segmenter import Segmenter, SegmenterConfig
from mpcvit.wire.reveal import LOGITS, Disclosure


@torch.no_grad()
def export_segmenter(
    model: Segmenter,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
) -> Exported:
    """Return the Program of ``model``; see :func:`mpcvit.export.vit.export_vit`.

    Raises:
        InputError, ProgramError, RangeError: as there; a segmenter reveals nothing but a map.
    """
    config = model.config
    check_reveal(reveal, config.classes, config.side, config.side)
    b, image = begin(images, config.input_shape, normalisation, precision)
    folded = fold(model.vit, factors)
    stream = lower_blocks(b, image, folded, normalisation, config.vit.tokens)
    with b.scope(Role.HEAD):
        return finish(b, model, normalisation, image, _head(b, stream, folded, config), reveal)


def _head(b: Builder, stream: ResidualStream, folded: FoldedViT, config: SegmenterConfig) -> Value:
    """Return the logits [classes, rows, columns] of the stream behind the last block."""
    x = joined(b, "head.stream", stream)
    wide = normalised_affine(b, "head", x, folded.head.weight, folded.head.bias, folded.norm)
    logits = b.rescale("head", wide)
    if config.cells > 1:  # [patches, classes * cells^2]: labels to the end, then cells in space
        cells, side = config.cells**2, config.vit.patch_side
        logits = b.reshape("head.split", logits, side**2, config.classes, cells)
        logits = b.permute("head.by_cell", logits, 0, 2, 1)
        logits = b.reshape("head.cells", logits, side**2 * cells, config.classes)
        logits = b.gather("head.placed", logits, -2, pixel_shuffle(side, side, config.cells))
    logits = b.permute("head.by_label", logits, 1, 0)
    return b.reshape("logits", logits, config.classes, config.side, config.side)


#: What :func:`mpcvit.export.model.export_model` looks for.
EXPORT = export_segmenter
