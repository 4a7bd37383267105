"""Inputs of every kind, from files and arrays, as codes of the model's shape; or refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mpcvit.errors import InputError, MpcvitError, ShapeMismatch
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.inputs.read import read_input
from mpcvit.picture import Fit
from tests.support.medical import npy, pages
from tests.support.pictures import encoded

RNG = np.random.default_rng(0)
GRAY = InputSpec(shape=(1, 6, 8))
DEEP = InputSpec(shape=(1, 6, 8), bits=16)
SPECTRAL = InputSpec(shape=(5, 6, 8), bits=16)
CHANNELS = InputSpec(kind=InputKind.CHANNELS, shape=(4, 6, 8))
CLIP = InputSpec(kind=InputKind.CLIP, shape=(3, 3, 6, 8))
VOLUME = InputSpec(kind=InputKind.VOLUME, shape=(3, 6, 8), bits=16)
BAG = InputSpec(kind=InputKind.BAG, shape=(2, 3, 6, 8))
PERSON = InputSpec(kind=InputKind.PERSON, shape=(2, 1, 6, 8))

FLAT = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
WIDE = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)
COLOURS = RNG.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)


def png(array: Any) -> bytes:
    return encoded(Image.fromarray(array), "PNG")


@pytest.mark.parametrize(
    ("spec", "source", "expected"),
    [
        (GRAY, FLAT, FLAT[None]),
        (GRAY, FLAT[..., None], FLAT[None]),
        (GRAY, png(FLAT), FLAT[None]),
        (GRAY, Image.fromarray(FLAT), FLAT[None]),
        (GRAY, npy(FLAT), FLAT[None]),
        (GRAY, encoded(Image.fromarray(FLAT).convert("LA"), "PNG"), FLAT[None]),
        (DEEP, WIDE, WIDE[None]),
        (DEEP, png(WIDE), WIDE[None]),
        (DEEP, pages(WIDE[None]), WIDE[None]),
        (SPECTRAL, npy(np.stack([WIDE + k for k in range(5)], axis=-1)), np.stack([WIDE + k for k in range(5)])),
        (CHANNELS, COLOURS[..., 0], COLOURS[..., 0]),
        (CHANNELS, pages(COLOURS[..., 0]), COLOURS[..., 0]),
        (CHANNELS, [png(plane) for plane in COLOURS[..., 0]], COLOURS[..., 0]),
        (CLIP, COLOURS[:3], COLOURS[:3].transpose(0, 3, 1, 2)),
        (CLIP, npy(COLOURS[:3]), COLOURS[:3].transpose(0, 3, 1, 2)),
        (CLIP, pages(COLOURS[:3]), COLOURS[:3].transpose(0, 3, 1, 2)),
        (CLIP, encoded(Image.fromarray(COLOURS[0]), "PNG"), None),
        (VOLUME, np.stack([WIDE] * 3), np.stack([WIDE] * 3)),
        (VOLUME, pages(np.stack([WIDE, WIDE // 2, WIDE // 3])), np.stack([WIDE, WIDE // 2, WIDE // 3])),
        (BAG, list(COLOURS[:2]), COLOURS[:2].transpose(0, 3, 1, 2)),
        (BAG, (COLOURS[0], png(COLOURS[1])), COLOURS[:2].transpose(0, 3, 1, 2)),
        (PERSON, [FLAT, png(FLAT)], np.stack([FLAT[None]] * 2)),
        (PERSON, np.stack([FLAT, FLAT]), np.stack([FLAT[None]] * 2)),
    ],
)
def test_what_a_model_reads(spec: InputSpec, source: Any, expected: Any) -> None:
    """The same codes from files, arrays and lists, of the shape and the depth of the model; None: one frame is none."""
    if expected is None:
        with pytest.raises(ShapeMismatch, match=r"1 frames; expected a clip: 3 frames"):
            read_input(source, spec)
        return
    reading = read_input(source, spec)
    assert reading.pixels.shape == spec.shape
    assert reading.pixels.dtype == f"uint{spec.bits}"
    assert (reading.pixels == expected).all()
    assert reading.notices == ()


def test_folders_and_file_objects(tmp_path: Path) -> None:
    """Pictures of a folder count in the order of their names; hidden files do not."""
    for name, picture in zip(("b.png", "a.png"), COLOURS, strict=False):
        (tmp_path / name).write_bytes(png(picture))
    (tmp_path / ".DS_Store").write_bytes(b"junk")
    for source in (tmp_path, str(tmp_path), [io.BytesIO(png(COLOURS[1])), tmp_path / "b.png"]):
        assert (read_input(source, BAG).pixels == COLOURS[[1, 0]].transpose(0, 3, 1, 2)).all()


def test_fit_converts_what_is_not_the_models() -> None:
    """Colours by ITU-R 601, depth so that white stays white, size as ever; without it each is refused."""
    colours = np.array(Image.fromarray(COLOURS[0]).convert("L"))
    for spec, source, expected in (
        (GRAY, png(COLOURS[0]), colours),
        (GRAY, WIDE, WIDE >> 8),
        (DEEP, png(FLAT), FLAT.astype(np.uint16) * 257),
        (InputSpec(shape=(3, 6, 8), bits=16), WIDE, WIDE),
    ):
        with pytest.raises(InputError) as caught:
            read_input(source, spec)
        assert "fit='model'" in caught.value.remedy
        assert (read_input(source, spec, Fit.MODEL).pixels == expected).all()
    large = np.kron(WIDE, np.ones((4, 4), np.uint16))
    small = read_input(large, DEEP, Fit.MODEL).pixels
    assert np.abs(small[0].astype(int) - WIDE).mean() < 6000
    assert read_input(np.stack([large] * 5, axis=-1), SPECTRAL, Fit.MODEL).pixels.shape == (5, 6, 8)


def test_frames_at_even_distances() -> None:
    """Of longer clips and volumes, where fit asks for it, with a notice; a bag is never thinned out."""
    frames = np.stack([np.full((6, 8), k, np.uint16) for k in range(12)])
    reading = read_input(pages(frames), VOLUME, Fit.MODEL)
    assert reading.pixels[:, 0, 0].tolist() == [2, 6, 10]
    (notice,) = reading.notices
    assert "12 slices: 3 of them, at even distances" in notice
    assert read_input(frames, VOLUME, Fit.MODEL).pixels[:, 0, 0].tolist() == [2, 6, 10]
    with pytest.raises(ShapeMismatch, match=r"4 pictures; expected a bag of pictures: 2 pictures.*public"):
        read_input(list(COLOURS), BAG, Fit.MODEL)


@pytest.mark.parametrize(
    ("spec", "source", "kind", "message"),
    [
        (GRAY, COLOURS[0], ShapeMismatch, "8-bit RGB; expected what the model reads: 8-bit gray.*fit='model'"),
        (GRAY, WIDE, InputError, "16-bit gray; expected what the model reads: 8-bit gray.*white stays white"),
        (GRAY, png(WIDE), InputError, "16-bit gray; expected what the model reads: 8-bit gray"),
        (DEEP, FLAT, InputError, "8-bit gray; expected what the model reads: 16-bit gray"),
        (GRAY, np.zeros((6, 8, 4), np.uint8), ShapeMismatch, "8-bit pixels of 4 channels.*Convert its colours first"),
        (SPECTRAL, png(COLOURS[0]), ShapeMismatch, "8-bit RGB; expected.*16-bit pixels of 5 channels"),
        (GRAY, np.zeros((5, 8), np.uint8), ShapeMismatch, "8 x 5 pixels"),
        (GRAY, np.zeros((6, 8), np.float32), InputError, r"float32; expected uint8 \[height, width\].*normalised"),
        (GRAY, np.zeros((2, 3, 6, 8), np.uint8), ShapeMismatch, "the layout uint8"),
        (GRAY, [FLAT], InputError, "type list"),
        (CLIP, COLOURS, ShapeMismatch, "4 frames; expected a clip: 3 frames.*fit='model'"),
        (CLIP, COLOURS[:2], ShapeMismatch, "2 frames; expected a clip: 3 frames"),
        (CLIP, COLOURS[0], ShapeMismatch, r"each \[height, width, 3\], along the first axis"),
        (CLIP, list(COLOURS[:, :5]), ShapeMismatch, "4 frames"),
        (CLIP, list(COLOURS[:3, :5]), ShapeMismatch, "8 x 5 pixels"),
        (BAG, [], InputError, "no pictures; expected a bag of pictures: 2 pictures"),
        (BAG, [COLOURS[0]], ShapeMismatch, "1 pictures; expected a bag of pictures: 2"),
        (BAG, [COLOURS[0], b"junk"], InputError, "UnidentifiedImageError reading 4 bytes"),
        (BAG, [COLOURS[0], None], InputError, "type NoneType"),
        (BAG, 7, InputError, "type int"),
        (VOLUME, np.zeros((3, 6, 8), np.uint8), InputError, "8-bit gray; expected.*16-bit gray"),
        (VOLUME, np.zeros((3, 6, 8)), InputError, "float64; expected uint16"),
        (VOLUME, npy(np.zeros((3, 6, 8), np.uint16))[:-5], InputError, "ValueError reading"),
        (VOLUME, npy(np.array([{}], dtype=object)), InputError, "holds objects"),
        (PERSON, "missing.npy", InputError, "FileNotFoundError reading missing.npy"),
    ],
)
def test_bad_inputs_say_what_is_wrong(spec: InputSpec, source: Any, kind: type[MpcvitError], message: str) -> None:
    """Typed, with what was got, expected, and what to do."""
    with pytest.raises(kind, match=message) as caught:
        read_input(source, spec)
    assert all((caught.value.got, caught.value.expected, caught.value.remedy))


def test_an_empty_folder_is_no_bag(tmp_path: Path) -> None:
    """Nor a volume."""
    for spec in (BAG, VOLUME):
        with pytest.raises(InputError, match=r"no (pictures|slices)"):
            read_input(tmp_path, spec)


def test_bombs_are_refused_by_their_headers(tmp_path: Path) -> None:
    """A header that promises more than the limit, with next to nothing behind it."""
    header = npy(np.zeros((1, 6, 8), np.uint16)).replace(b"(1, 6, 8), }       ", b"(9999999, 6, 8), } ")
    with pytest.raises(InputError, match=r"9999999 x 6 x 8 values; expected at most 134,217,728 values"):
        read_input(header, VOLUME)
    many = io.BytesIO()
    Image.new("L", (8000, 8000)).save(many, "TIFF", save_all=True, append_images=[Image.new("L", (8000, 8000))] * 3)
    with pytest.raises(InputError, match="4 x 8000 x 8000 pixels"):
        read_input(many.getvalue(), InputSpec(kind=InputKind.VOLUME, shape=(4, 6, 8)), Fit.MODEL)
