"""Families of hard pictures: sharp, periodic, saturated or extreme, as printed pages, codes, screens and scans are.

A family draws one picture, uint8 [height, width, channels], from numpy's generator; photographs are among its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]

_TEXT = "The quick brown fox jumps over the lazy dog 0123456789 (ACME Ltd, invoice no. 4711) "
#: Ordered dithering of 4 x 4 pixels (Bayer 1973), thresholds between 0 and 255.
_BAYER = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5) * 16


@dataclass(frozen=True)
class Canvas:
    """What a family draws on and from.

    Attributes:
        shape: [height, width, channels] of the picture.
        photographs: uint8 [count, height, width, channels], at least one.
        random: of this picture.
    """

    shape: tuple[int, int, int]
    photographs: Pixels
    random: np.random.Generator

    @property
    def grid(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Row and column of every pixel."""
        rows, columns = np.mgrid[: self.shape[0], : self.shape[1]]
        return rows, columns

    @property
    def photograph(self) -> Pixels:
        """One of the photographs."""
        return np.array(self.photographs[self.random.integers(len(self.photographs))])

    def colour(self) -> npt.NDArray[np.float64]:
        """Return black, white, a saturated colour or any."""
        channels, kind = self.shape[2], self.random.integers(4)
        if kind == 0:
            return np.zeros(channels)
        if kind == 1:
            return np.full(channels, 255.0)
        if kind == 2:
            return np.asarray(self.random.integers(0, 2, channels) * 255, dtype=np.float64)
        return self.random.integers(0, 256, channels).astype(np.float64)

    def two_colours(self, where: npt.NDArray[np.bool_]) -> Pixels:
        """Return one colour where ``where`` [height, width], another elsewhere; half of the time black and white."""
        first, second = np.zeros(self.shape[2]), np.full(self.shape[2], 255.0)
        if self.random.integers(2):
            first, second = self.colour(), self.colour()
        return np.where(where[..., None], first, second).astype(np.uint8)


def _stripes(canvas: Canvas) -> Pixels:
    rows, columns = canvas.grid
    period, phase = canvas.random.integers(1, 5), canvas.random.integers(4)
    line = (rows, columns, rows + columns, rows - columns)[canvas.random.integers(4)]
    return canvas.two_colours((line + phase) // period % 2 == 0)


def _checkerboard(canvas: Canvas) -> Pixels:
    rows, columns = canvas.grid
    high, wide = canvas.random.integers(1, 5, 2)
    return canvas.two_colours((rows // high + columns // wide) % 2 == 0)


def _barcode(canvas: Canvas) -> Pixels:
    bars = np.repeat(canvas.random.integers(0, 2, canvas.shape[1]), canvas.random.integers(1, 4))[: canvas.shape[1]]
    where = np.broadcast_to(bars.astype(bool), (canvas.shape[1], canvas.shape[1]))[: canvas.shape[0]]
    turned = canvas.shape[0] == canvas.shape[1] and canvas.random.integers(2)
    return canvas.two_colours(where.T if turned else where)


def _modules(canvas: Canvas) -> Pixels:
    """Return a QR code's squares, and every channel by itself now and then."""
    side = canvas.random.integers(1, 5)
    height, width, channels = canvas.shape
    cells = canvas.random.integers(0, 2, (-(-height // side), -(-width // side), channels))
    if canvas.random.integers(2):
        cells = cells[..., :1].repeat(channels, -1)
    big = cells.repeat(side, 0).repeat(side, 1)[:height, :width]
    return np.asarray(big * 255, dtype=np.uint8)


def _text(canvas: Canvas) -> Pixels:
    """Return a crop of printed text, smoothed or not."""
    height, width, channels = canvas.shape
    size = int(canvas.random.integers(6, max(height // 2, 8)))
    page = Image.new("L", (4 * width, 2 * height), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    start = int(canvas.random.integers(len(_TEXT)))
    for line in range(2 * height // size + 1):
        words = (_TEXT * 3)[(start + 17 * line) % len(_TEXT) :]
        draw.text((0, line * size * 1.1), words[: 8 * width // size], fill=0, font=font)
    left, top = int(canvas.random.integers(2 * width)), int(canvas.random.integers(height // 2))
    ink = np.asarray(page.crop((left, top, left + width, top + height))) / 255.0
    if canvas.random.integers(2):
        ink = np.round(ink)
    paper, print_ = (np.full(channels, 255.0), np.zeros(channels))
    if canvas.random.integers(2):
        paper, print_ = canvas.colour(), canvas.colour()
    return np.asarray(ink[..., None] * paper + (1 - ink[..., None]) * print_, dtype=np.uint8)


def _noise(canvas: Canvas) -> Pixels:
    kind, shape = canvas.random.integers(3), canvas.shape
    if kind == 0:
        return canvas.random.integers(0, 256, shape, dtype=np.uint8)
    values = canvas.random.integers(0, 2, shape if kind == 1 else (*shape[:2], 1)) * 255
    return np.broadcast_to(values, shape).astype(np.uint8)


def _salt_and_pepper(canvas: Canvas) -> Pixels:
    picture, chance = canvas.photograph, canvas.random.random(canvas.shape[:2])
    rate = canvas.random.uniform(0.01, 0.3)
    picture[chance < rate] = 0
    picture[chance > 1 - rate] = 255
    return picture


def _solid(canvas: Canvas) -> Pixels:
    return np.broadcast_to(canvas.colour(), canvas.shape).astype(np.uint8)


def _halves(canvas: Canvas) -> Pixels:
    rows, columns = canvas.grid
    angle = canvas.random.uniform(0, np.pi)
    line = np.cos(angle) * (columns - canvas.shape[1] / 2) + np.sin(angle) * (rows - canvas.shape[0] / 2)
    return canvas.two_colours(line > 0)


def _grating(canvas: Canvas) -> Pixels:
    rows, columns = canvas.grid
    angle, period = canvas.random.uniform(0, np.pi), canvas.random.uniform(2, 12)
    wave = np.sin(2 * np.pi * (np.cos(angle) * columns + np.sin(angle) * rows) / period)
    if canvas.random.integers(2):
        return canvas.two_colours(wave > 0)
    first, second = canvas.colour(), canvas.colour()
    part = (wave[..., None] + 1) / 2
    return np.asarray(part * first + (1 - part) * second, dtype=np.uint8)


def _gradient(canvas: Canvas) -> Pixels:
    rows, columns = canvas.grid
    part = ((rows + columns) / max(sum(canvas.shape[:2]) - 2, 1))[..., None]
    return np.asarray(part * canvas.colour() + (1 - part) * canvas.colour(), dtype=np.uint8)


def _fence(canvas: Canvas) -> Pixels:
    """Return a photograph behind lines of one pixel."""
    rows, columns = canvas.grid
    line = columns if canvas.random.integers(2) else rows
    where = line % canvas.random.integers(2, 5) == 0
    return np.where(where[..., None], canvas.colour(), canvas.photograph).astype(np.uint8)


def _dithered(canvas: Canvas) -> Pixels:
    height, width, channels = canvas.shape
    thresholds = np.tile(_BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    picture = canvas.photograph.astype(float)
    if canvas.random.integers(2):
        picture = picture.mean(-1, keepdims=True).repeat(channels, -1)
    return ((picture > thresholds) * 255).astype(np.uint8)


def _thresholded(canvas: Canvas) -> Pixels:
    picture = canvas.photograph.astype(float)
    if canvas.random.integers(2):
        picture = picture.mean(-1, keepdims=True).repeat(canvas.shape[2], -1)
    return ((picture > canvas.random.integers(32, 224)) * 255).astype(np.uint8)


def _saturated(canvas: Canvas) -> Pixels:
    """Return a photograph with far too much contrast, or its negative."""
    contrast = canvas.random.uniform(2, 12) * canvas.random.choice([-1, 1])
    return np.asarray(((canvas.photograph.astype(float) - 127.5) * contrast + 127.5).clip(0, 255), dtype=np.uint8)


def _mosaic(canvas: Canvas) -> Pixels:
    """Return one small tile everywhere: of a photograph, of noise, or black and white."""
    side = int(canvas.random.choice([2, 3, 4, 8]))
    tile = canvas.photograph[:side, :side]
    kind = canvas.random.integers(3)
    if kind == 1:
        tile = canvas.random.integers(0, 256, tile.shape, dtype=np.uint8)
    elif kind:
        tile = canvas.random.integers(0, 2, tile.shape, dtype=np.uint8) * np.uint8(255)
    rows, columns = canvas.grid
    return np.asarray(tile[rows % tile.shape[0], columns % tile.shape[1]], dtype=np.uint8)


def _spots(canvas: Canvas) -> Pixels:
    """Return single pixels on a flat ground."""
    picture = np.broadcast_to(canvas.colour(), canvas.shape).copy()
    count = int(canvas.random.integers(1, 20))
    places = canvas.random.integers(0, canvas.shape[0], count), canvas.random.integers(0, canvas.shape[1], count)
    picture[places] = canvas.colour()
    return picture.astype(np.uint8)


BACKBONES: dict[str, Callable[[Canvas], Pixels]] = {
    "stripes": _stripes,
    "checkerboard": _checkerboard,
    "barcode": _barcode,
    "modules": _modules,
    "text": _text,
    "noise": _noise,
    "salt and pepper": _salt_and_pepper,
    "solid": _solid,
    "halves": _halves,
    "grating": _grating,
    "gradient": _gradient,
    "fence": _fence,
    "dithered": _dithered,
    "thresholded": _thresholded,
    "saturated": _saturated,
    "mosaic": _mosaic,
    "spots": _spots,
    "photograph": lambda canvas: canvas.photograph,
}


def pictures(count: int, shape: tuple[int, int, int], photographs: Pixels, seed: int) -> Iterator[tuple[str, Pixels]]:
    """Yield ``count`` pictures, family after family in turns, with their families' names.

    Args:
        shape: [height, width, channels].
        photographs: uint8 [photographs, height, width, channels].
    """
    names = list(BACKBONES)
    for number in range(count):
        name = names[number % len(names)]
        canvas = Canvas(shape, photographs, np.random.default_rng([seed, number]))
        yield name, BACKBONES[name](canvas)
