"""DICOM and NIfTI: measured values through the model's window, in their order in space; damaged files are refused."""

from __future__ import annotations

import gzip
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from mpcvit.errors import ConfigError, InputError, ShapeMismatch
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.inputs.read import read_input
from mpcvit.picture import Fit
from tests.support.medical import dicom, nifti

HOUNSFIELD = InputSpec(shape=(1, 6, 8), bits=16, window=(-1000.0, 1000.0))
OWN_WINDOW = InputSpec(shape=(1, 6, 8))
VOLUME = InputSpec(kind=InputKind.VOLUME, shape=(3, 6, 8), bits=16, window=(-1000.0, 1000.0))
STORED = np.random.default_rng(1).integers(0, 2048, (6, 8), dtype=np.int16)
SLICES = np.random.default_rng(2).integers(0, 2048, (3, 6, 8), dtype=np.int16)
CT = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}


def codes(measured: np.ndarray) -> np.ndarray:
    """What the model's window makes of measured values."""
    return np.rint((measured.clip(-1000, 1000) + 1000) / 2000 * 65535).astype(np.uint16)


def test_a_slice_by_the_models_window() -> None:
    """Stored values are rescaled, then cut off at the window: the same codes from every scanner."""
    expected = codes(STORED.astype(float) - 1024)
    assert (read_input(dicom(STORED, **CT), HOUNSFIELD).pixels[0] == expected).all()
    other = dicom(STORED * 2, RescaleSlope="0.5", RescaleIntercept="-1024", WindowCenter="3", WindowWidth="7")
    assert (read_input(other, HOUNSFIELD).pixels[0] == expected).all()
    assert (read_input(STORED.astype(np.float32) - 1024, HOUNSFIELD).pixels[0] == expected).all()


def test_a_slice_by_its_own_window() -> None:
    """For models without a window: the first one that the file names, or all that its bits hold; inverted if it is."""
    shown = dicom(STORED, WindowCenter=["1024", "40"], WindowWidth=["1024", "80"])
    expected = np.rint((STORED.astype(float).clip(512, 1536) - 512) / 1024 * 255)
    assert (read_input(shown, OWN_WINDOW).pixels[0] == expected).all()
    plain = STORED.astype(np.uint16)
    stored = dicom(plain, BitsStored=12, HighBit=11)
    assert (read_input(stored, OWN_WINDOW).pixels[0] == np.rint(plain / 4095 * 255)).all()
    inverted = dicom(plain, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    assert (read_input(inverted, OWN_WINDOW).pixels[0] == 255 - np.rint(plain / 4095 * 255)).all()
    rgb = read_input(stored, InputSpec(shape=(3, 6, 8))).pixels
    assert (rgb == np.rint(plain / 4095 * 255)).all()


def test_colours() -> None:
    """An RGB file is a picture; a gray model takes it where fit asks for it."""
    colours = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    content = dicom(colours)
    assert (read_input(content, InputSpec(shape=(3, 6, 8))).pixels == colours.transpose(2, 0, 1)).all()
    with pytest.raises(ShapeMismatch, match="8-bit RGB; expected what the model reads: 8-bit gray"):
        read_input(content, OWN_WINDOW)
    assert read_input(content, OWN_WINDOW, Fit.MODEL).pixels.shape == (1, 6, 8)


def test_slices_lie_in_their_order_in_space(tmp_path: Path) -> None:
    """In a folder, whatever their names; by their numbers where they have no place. A list keeps its own order."""
    axes = ["1", "0", "0", "0", "1", "0"]
    for number, name in enumerate(("c.dcm", "a.dcm", "b.dcm")):
        place = ["0", "0", str(-7.5 + 2 * number)]
        content = dicom(
            SLICES[number], **CT, ImagePositionPatient=place, ImageOrientationPatient=axes, InstanceNumber=9 - number
        )
        (tmp_path / name).write_bytes(content)
    expected = codes(SLICES.astype(float) - 1024)
    assert (read_input(tmp_path, VOLUME).pixels == expected).all()
    files = [tmp_path / name for name in ("a.dcm", "b.dcm", "c.dcm")]
    assert (read_input(files, VOLUME).pixels == expected[[1, 2, 0]]).all()
    for number, name in enumerate(("c.dcm", "a.dcm", "b.dcm")):
        (tmp_path / name).write_bytes(dicom(SLICES[number], **CT, InstanceNumber=number))
    assert (read_input(tmp_path, VOLUME).pixels == expected).all()
    (tmp_path / "a.dcm").write_bytes(dicom(SLICES[1], **CT))
    with pytest.raises(InputError, match="do not tell their order"):
        read_input(tmp_path, VOLUME)
    (tmp_path / "a.dcm").write_bytes(dicom(SLICES[1], **CT, SeriesInstanceUID="1.2.3"))
    with pytest.raises(InputError, match="do not belong to one series"):
        read_input(tmp_path, VOLUME)


def test_frames_of_one_file() -> None:
    """A volume or a clip; no picture."""
    content = dicom(SLICES, **CT)
    assert (read_input(content, VOLUME).pixels == codes(SLICES.astype(float) - 1024)).all()
    with pytest.raises(ShapeMismatch, match="3 slices or frames; expected one picture"):
        read_input(content, HOUNSFIELD)


@pytest.mark.parametrize("packed", [False, True])
def test_a_volume_lies_as_dicom_does(packed: bool) -> None:
    """Whatever the order of its axes: slices from the feet, rows from the front, columns from the patient's right."""
    measured = (SLICES.astype(np.float32) - 1024)[:, ::-1, ::-1].transpose(2, 1, 0)  # x to the right, y front, z head
    expected = codes(SLICES.astype(float) - 1024)
    assert (read_input(nifti(measured, packed=packed), VOLUME).pixels == expected).all()
    turned = np.array([[0, 0, -1.0, 7], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert (read_input(nifti(measured.transpose(2, 1, 0)[:, :, ::-1], turned, packed), VOLUME).pixels == expected).all()
    assert (read_input(nifti(measured[..., None], packed=packed), VOLUME).pixels == expected).all()


def test_pixels_need_no_window_but_measured_values_do() -> None:
    """8- and 16-bit NIfTI files are pixels to a model without a window; nothing says which float is white."""
    pixels = InputSpec(kind=InputKind.VOLUME, shape=(3, 6, 8), bits=16)
    stored = SLICES.astype(np.uint16)
    assert (read_input(nifti(stored[:, ::-1, ::-1].transpose(2, 1, 0)), pixels).pixels == stored).all()
    with pytest.raises(InputError, match=r"measured values.*no window"):
        read_input(nifti(SLICES.transpose(2, 1, 0).astype(np.float32)), pixels)
    holed = SLICES.transpose(2, 1, 0).astype(np.float32)
    holed[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="1 values that are NaN or infinite"):
        read_input(nifti(holed), VOLUME)


def test_damaged_files_are_refused() -> None:
    """Cut anywhere, or with any byte changed: a typed error, or an input of the right shape, and no warning."""
    generator = np.random.default_rng(4)
    whole = {"dicom": dicom(SLICES, **CT), "nifti": nifti(SLICES.transpose(2, 1, 0)), "packed": b""}
    whole["packed"] = gzip.compress(whole["nifti"])
    for content in whole.values():
        for number in range(60):
            damaged = bytearray(content)
            if number % 2:
                del damaged[int(generator.integers(len(content))) :]
            else:
                damaged[int(generator.integers(min(len(content), 900)))] = int(generator.integers(256))
            with suppress(InputError):
                assert read_input(bytes(damaged), VOLUME).pixels.shape == VOLUME.shape


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dicom(STORED, Rows=60000, Columns=60000), "1 x 60000 x 60000 x 1 values; expected at most"),
        (dicom(STORED, syntax=DeflatedExplicitVRLittleEndian), "packed by transfer syntax.*dcmdjpeg"),
        (dicom(STORED).replace(b"1.2.840.10008.1.2.1\0", JPEGBaseline8Bit.encode()[:20]), "packed by transfer syntax"),
        (dicom(STORED, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR; expected MONOCHROME1"),
        (dicom(STORED)[:-9], "reading .* bytes"),
        (nifti(np.zeros((2, 2, 2, 3))), r"of shape \(2, 2, 2, 3\); expected one volume"),
        (gzip.compress(nifti(np.zeros((6, 8, 3), np.uint8)))[:60], "which ends too early|reading"),
    ],
    ids=["rows", "deflated", "jpeg", "palette", "cut off", "series", "cut off and packed"],
)
def test_what_is_not_read_is_named(content: bytes, message: str) -> None:
    """Bombs by their headers; packings that could hide one; kinds of pixels that nobody asked for."""
    with pytest.raises(InputError, match=message):
        read_input(content, VOLUME)


def test_a_volume_that_promises_too_much() -> None:
    """The header of a NIfTI file is read before its data are unpacked."""
    content = bytearray(nifti(np.zeros((2, 2, 2), np.uint8)))
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    with pytest.raises(InputError, match="30000 x 30000 x 30000 values"):
        read_input(gzip.compress(bytes(content)), VOLUME)


@pytest.mark.parametrize(
    ("content", "module"), [(dicom(STORED), "pydicom"), (nifti(SLICES), "nibabel")], ids=["dicom", "nifti"]
)
def test_a_missing_library_is_named_with_its_extra(
    content: bytes, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installations without it read everything else."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"no module '{module}'.*extra 'medical'.*mpcvit\[medical\]"):
        read_input(content, VOLUME)
