"""Models that answer in every way, and manifests of stand-ins for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from mpcvit.export.exported import Exported
from mpcvit.export.segmenter import export_segmenter
from mpcvit.export.vit import export_vit
from mpcvit.models.segmenter import Segmenter, SegmenterConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.ring.qtype import QType
from mpcvit.store.enrolment import enrolled
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.reveal import Disclosure, RevealKind
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.models import TINY, make_model
from tests.support.stand_in import MANIFEST

SCORES, VECTOR, SCALAR, MAP = (
    Disclosure(kind) for kind in (RevealKind.SCORES, RevealKind.VECTOR, RevealKind.SCALAR, RevealKind.MAP)
)
TAGS, MATCH = Disclosure.tags(0.4), Disclosure.match(0.6)
NAMES = ("a", "b", "c")
CELLS = 2
#: Of the model below, an embedding.
EMBEDDING_WIDTH = 6
IMAGES = make_images(TINY, 64)


def stand_in(reveal: Disclosure) -> Manifest:
    """The manifest of a model that reveals this of three labels, or of a map of 2 x 4 places."""
    if reveal.kind is RevealKind.VECTOR:
        reveal = reveal.of_shape((3,))
    if reveal.kind is RevealKind.MAP:
        reveal = reveal.of_shape((2, 4))
    kind = MANIFEST.output_type if reveal.kind.facts.real else QType(frac=0, lo=0, hi=23)
    return replace(MANIFEST, reveal=reveal, output_type=kind, labels=NAMES if reveal.kind.facts.least_labels else ())


def make_segmenter(classes: int = 3, cells: int = CELLS, seed: int = 0) -> Segmenter:
    """A segmenter of four patches."""
    model = Segmenter(SegmenterConfig(vit=varied(TINY, classes=classes * cells**2), cells=cells))
    model.vit = make_model(model.config.vit, seed)
    return model.eval()


def make_float(reveal: Disclosure) -> VisionTransformer | Segmenter:
    """A float model that answers so."""
    if reveal.kind is RevealKind.MAP:
        return make_segmenter()
    widths = {RevealKind.SCALAR: 1, RevealKind.VECTOR: EMBEDDING_WIDTH, RevealKind.MATCH: EMBEDDING_WIDTH}
    return make_model(varied(TINY, classes=widths.get(reveal.kind, 3)))


@cache
def make_exported(reveal: Disclosure) -> Exported:
    """The float model as a Program."""
    model = make_float(reveal)
    return (export_segmenter if isinstance(model, Segmenter) else export_vit)(model, IMAGES, reveal=reveal)


def make_folder(reveal: Disclosure, reference: int | None = 0) -> ModelFolder:
    """The Program with its description; one that matches does so with the embedding of picture ``reference``."""
    exported = make_exported(reveal)
    labels = NAMES if reveal.kind.facts.least_labels else ()
    description = Description(
        name=str(reveal.kind), version="1", labels=labels, mean=(0.5,) * 3, std=(0.25,) * 3, reveal=exported.reveal
    )
    folder = ModelFolder(description, exported.program, exported.weights)
    if reveal.kind is not RevealKind.MATCH or reference is None:
        return folder
    return enrolled(folder, real_outputs(reveal)[reference])


@cache
def real_outputs(reveal: Disclosure) -> np.ndarray:
    """What the float model computes of :data:`IMAGES`, float64."""
    with torch.inference_mode():
        return make_float(reveal)(IMAGES).double().numpy()


def expected(reveal: Disclosure, reference: int = 0) -> np.ndarray:
    """The codes [count, outputs] that the float model's answers have, of kinds that are integers."""
    real = real_outputs(reveal)
    if reveal.kind is RevealKind.TAGS:
        return (1 / (1 + np.exp(-real)) >= reveal.threshold).astype(np.int64)
    if reveal.kind is RevealKind.MATCH:
        lengths = np.linalg.norm(real, axis=1) * np.linalg.norm(real[reference])
        return (real @ real[reference] / lengths >= reveal.threshold).astype(np.int64)[:, None]
    count, classes, rows, columns = real.shape
    places = rows * columns
    positions = real.argmax(1).reshape(count, places) + classes * np.arange(places)
    return np.concatenate([positions, np.full((count, 1), places)], axis=1)
