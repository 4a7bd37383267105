"""The pictures of an input that consists of several: of a list, a folder, a file or an array."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.inputs.content import Content, open_content
from mpcvit.inputs.one import picture_of, pixel_form, plane_picture, read_one
from mpcvit.inputs.planes import Planes
from mpcvit.inputs.spec import InputSpec
from mpcvit.picture.fit import Fit
from mpcvit.picture.reader import MAX_PIXELS, Picture, check_size, decoded, decoding, opened, source_name, too_large


def read_parts(source: object, spec: InputSpec, fit: Fit | None) -> Iterator[Picture]:
    """Yield the pictures in ``source``, as many as ``spec`` says.

    Their number is checked before any is decoded. Of more frames or slices ``fit`` takes some at even distances, and
    the first one has a notice that says so.

    Args:
        source: a list of pictures; a folder of them; a file of frames, pages or slices; or an array of them, along its
            first axis.

    Raises:
        InputError, ShapeMismatch: there are none, too few or too many, or one cannot be read or does not fit.
    """
    if isinstance(source, list | tuple):
        chosen, notices = choose(len(source), f"a list of {len(source)}", spec, fit)
        return _with(notices, (read_one(source[number], spec, fit) for number in chosen))
    name = source_name(source)
    if isinstance(source, str | os.PathLike) and Path(os.fsdecode(source)).is_dir():
        return _of_folder(Path(os.fsdecode(source)), spec, fit)
    return _of_content(open_content(source, name), spec, fit, name)


def choose(found: int, name: str, spec: InputSpec, fit: Fit | None) -> tuple[list[int], tuple[str, ...]]:
    """Return which of ``found`` parts a model of ``spec`` reads, and a notice if these are not all.

    Raises:
        InputError: there are none.
        ShapeMismatch: there are too few; or too many, and no fit, or they do not follow each other at even distances.
    """
    wanted, parts = spec.parts, spec.kind.part
    if found == wanted:
        return list(range(found)), ()
    if found == 0:
        raise InputError(
            f"{name}: no {parts}", expected=f"{spec.kind.phrase}: {wanted} {parts}", remedy=f"Add {parts}."
        )
    if fit is not None and found > wanted and spec.kind.sampled:
        notice = f"{name} has {found} {parts}: {wanted} of them, at even distances, were taken."
        return [(2 * number + 1) * found // (2 * wanted) for number in range(wanted)], (notice,)
    remedy = f"Give {wanted}; their number is part of the model, and public."
    if spec.kind.sampled and found > wanted:
        remedy += " Or have some at even distances taken: fit='model', on the command line --fit model."
    raise ShapeMismatch(f"{name}: {found} {parts}", expected=f"{spec.kind.phrase}: {wanted} {parts}", remedy=remedy)


def _with(notices: tuple[str, ...], pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Yield ``pictures``, the first one with ``notices``."""
    for number, picture in enumerate(pictures):
        yield Picture(picture.pixels, (*notices, *picture.notices)) if number == 0 else picture


def _of_content(content: Content, spec: InputSpec, fit: Fit | None, name: str) -> Iterator[Picture]:
    if isinstance(content, Planes):
        chosen, notices = choose(len(content.values), name, spec, fit)
        return _with(notices, (plane_picture(content, number, spec, fit, name) for number in chosen))
    if isinstance(content, np.ndarray):
        _check_axes(content.shape, spec, name)
        chosen, notices = choose(len(content), name, spec, fit)
        return _with(notices, (picture_of(content[number], spec, fit, name) for number in chosen))
    return _frames(content, spec, fit, name)


def _check_axes(shape: Sequence[int], spec: InputSpec, name: str) -> None:
    """Refuse an array whose first axis is not that of the parts."""
    channels = spec.pixel_channels
    if len(shape) == 4 or (len(shape) == 3 and channels == 1):
        return
    axes = "[height, width]" if channels == 1 else f"[height, width, {channels}]"
    raise ShapeMismatch(
        f"{name} of shape {tuple(shape)}",
        expected=f"{spec.kind.phrase}: {spec.parts} {spec.kind.part}, each {axes}, along the first axis",
        remedy="Pass the array with these axes, or a list of pictures.",
    )


def _frames(content: Path | bytes | Image.Image, spec: InputSpec, fit: Fit | None, name: str) -> Iterator[Picture]:
    """Yield the frames or pages of a file that Pillow reads."""
    form = pixel_form(spec)
    with decoding(name), opened(content) as image:
        check_size(image.size, name, spec.size, fit, turned=True)
        found = getattr(image, "n_frames", 1)
        if found * image.width * image.height > 2 * MAX_PIXELS:
            raise too_large(f"{name}, of {found} x {image.width} x {image.height} pixels")
        chosen, notices = choose(found, name, spec, fit)
        for position, number in enumerate(chosen):
            image.seek(number)
            check_size(image.size, name, spec.size, fit, turned=True)
            picture = decoded(image, name, spec.size, fit, form)
            yield Picture(picture.pixels, (*notices, *picture.notices)) if position == 0 else picture


def _of_folder(folder: Path, spec: InputSpec, fit: Fit | None) -> Iterator[Picture]:
    """Yield what the files of a folder hold: slices of DICOM in their order in space, others by name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not spec.kind.sampled or not files:
        return read_parts(files, spec, fit)
    first = open_content(files[0], files[0].name)
    if not isinstance(first, Planes):
        return read_parts(files, spec, fit)
    slices = [open_content(path, path.name) for path in files]
    planes = [one for one in slices if isinstance(one, Planes) and len(one.values) == 1]
    if len(planes) != len(files) or len({one.series for one in planes}) != 1:
        raise InputError(
            f"{folder}, of files that do not belong to one series of slices",
            expected="files of one slice each, all of one DICOM series",
            remedy="Put every series into a folder of its own.",
        )
    chosen, notices = choose(len(planes), str(folder), spec, fit)
    ordered = _ordered(planes, folder)
    return _with(notices, (plane_picture(ordered[number], 0, spec, fit, str(folder)) for number in chosen))


def _ordered(planes: list[Planes], folder: Path) -> list[Planes]:
    """Return slices by their place along the normal, or by their number where files do not tell it."""
    for key in (0, 1):
        places = [one.order[key] for one in planes]
        known = [place for place in places if place is not None]
        if len(set(known)) == len(planes):
            return [planes[number] for number in np.argsort(known)]
    raise InputError(
        f"{folder}, whose slices do not tell their order",
        expected="slices with different positions (ImagePositionPatient) or numbers (InstanceNumber)",
        remedy="Pass a list of them, in their order.",
    )
