"""Medical files and stacks made by hand, for tests."""

from __future__ import annotations

import gzip
import io
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = generate_uid(entropy_srcs=["one series"])


def dicom(values: npt.NDArray[Any], syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A DICOM file of stored ``values`` [height, width], [frames, height, width] or uint8 [height, width, 3]."""
    colour = values.ndim == 3 and values.shape[-1] == 3
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = SERIES
    data.Rows, data.Columns = values.shape[:2] if colour else values.shape[-2:]
    if values.ndim == 3 and not colour:
        data.NumberOfFrames = len(values)
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(data, name, value)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def nifti(values: npt.NDArray[Any], affine: npt.NDArray[np.float64] | None = None, packed: bool = False) -> bytes:
    """A NIfTI file of ``values`` [x, y, z], by default with x to the right, y to the front, z to the head."""
    content: bytes = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine).to_bytes()
    return gzip.compress(content) if packed else content


def npy(array: npt.NDArray[Any]) -> bytes:
    """A file of NumPy's."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def pages(array: npt.NDArray[Any], kind: str = "TIFF") -> bytes:
    """A file of several frames or pages, [count, height, width] or [count, height, width, 3]."""
    first, *others = (Image.fromarray(page) for page in array)
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others)
    return file.getvalue()
