"""What models can reveal by the shape of what they compute."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pixel_shuffle as shuffled

from mpcvit.errors import InputError
from mpcvit.export.answer import check_reveal
from mpcvit.export.positions import pixel_shuffle
from mpcvit.export.segmenter import export_segmenter
from mpcvit.export.vit import export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.wire.reveal import LOGITS, Disclosure
from tests.support.answers import IMAGES, MAP, MATCH, SCALAR, SCORES, TAGS, VECTOR, make_segmenter


@pytest.mark.parametrize(
    ("reveal", "shape"),
    [
        (LOGITS, (1,)),
        (Disclosure.topk(3), (3,)),
        (SCORES, (1,)),
        (TAGS, (1,)),
        (VECTOR, (1,)),
        (SCALAR, (1,)),
        (MAP, (2, 1, 1)),
        (MATCH, (1,)),
    ],
    ids=str,
)
def test_what_fits(reveal: Disclosure, shape: tuple[int, ...]) -> None:
    """The least that each kind needs."""
    check_reveal(reveal, *shape)


@pytest.mark.parametrize(
    ("reveal", "shape"),
    [
        (LOGITS, (3, 4, 4)),
        (Disclosure.label(), (1,)),
        (Disclosure.topk(3), (2,)),
        (SCORES, (3, 2, 2)),
        (SCALAR, (2,)),
        (MAP, (3,)),
        (MAP, (1, 4, 4)),
        (MATCH, (3, 4, 4)),
    ],
    ids=str,
)
def test_what_does_not_fit_says_so(reveal: Disclosure, shape: tuple[int, ...]) -> None:
    """With the shape, or the number of classes, and what is expected."""
    with pytest.raises(InputError) as caught:
        check_reveal(reveal, *shape)
    assert str(reveal) in caught.value.got
    assert caught.value.expected


def test_models_say_so_before_they_are_lowered(tiny_model: VisionTransformer) -> None:
    """A classifier has no map, a segmenter nothing else."""
    with pytest.raises(InputError, match=r"\[3\] that reveals the likeliest label alone of each"):
        export_vit(tiny_model, IMAGES, reveal=MAP)
    with pytest.raises(InputError, match=r"\[3, 4, 4\] that reveals its logits"):
        export_segmenter(make_segmenter(), IMAGES)


@pytest.mark.parametrize(("rows", "columns", "factor"), [(1, 1, 3), (2, 3, 1), (3, 2, 2)])
def test_positions_are_those_of_a_pixel_shuffle(rows: int, columns: int, factor: int) -> None:
    """As torch lays cells out."""
    cells = torch.arange(rows * columns * factor**2).reshape(rows, columns, factor**2)
    expected = shuffled(cells.permute(2, 0, 1)[None].float(), factor).long().reshape(-1)
    assert list(pixel_shuffle(rows, columns, factor)) == expected.tolist()
