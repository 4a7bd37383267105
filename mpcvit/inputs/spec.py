"""The public description of a model's input: what clients make of their files, and parties check on shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpcvit.errors import ConfigError
from mpcvit.inputs.kind import InputKind
from mpcvit.ring.qtype import QType, pixel_type

_PLANES = {InputKind.PICTURE, InputKind.CHANNELS, InputKind.VOLUME}  # of three axes; the others have four
_BITS = (8, 16)
_FIELDS = {"kind", "shape", "bits", "window"}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a model reads.

    All of it is public, the number of pictures in a bag included.

    Attributes:
        kind: what the axes of ``shape`` mean, see :class:`InputKind`.
        shape: of the codes, without batch axis. A code is a pixel from 0 to 2**bits - 1.
        bits: of a pixel, 8 or 16.
        window: the measured values, such as Hounsfield units, that become the darkest and the brightest pixel; what
            lies beyond them is cut off. None for models of pixels.

    Raises:
        ConfigError: a field is wrong, or they do not fit together.
    """

    kind: InputKind = InputKind.PICTURE
    shape: tuple[int, ...]
    bits: int = 8
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        axes = 3 if self.kind in _PLANES else 4
        if len(self.shape) != axes or not all(type(side) is int and side > 0 for side in self.shape):
            raise _wrong(f"a {self.kind} of shape {list(self.shape)}", f"{axes} positive numbers")
        if self.bits not in _BITS:
            raise _wrong(f"pixels of {self.bits} bits", "8 or 16 bits")
        if self.window is not None:
            lo, hi = self.window
            if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi) or self.pixel_channels != 1:
                channels = f"pixels of {self.pixel_channels} channel(s)"
                raise _wrong(f"a window from {lo:g} to {hi:g} for {channels}", "the lower value first, and one channel")

    def __str__(self) -> str:
        height, width = self.size
        pixels = f"{width} x {height} {self.bits}-bit pixels (width x height) of {self.pixel_channels} channel(s)"
        if self.kind is InputKind.PICTURE:
            return f"a picture of {pixels}"
        return f"{self.kind.phrase}: {self.parts} {self.kind.part} of {pixels}"

    @property
    def channels(self) -> int:
        """Channels that are normalised one by one."""
        return 1 if self.kind is InputKind.VOLUME else self.shape[-3]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every picture."""
        return self.shape[-2], self.shape[-1]

    @property
    def parts(self) -> int:
        """Pictures that the input is made of."""
        return 1 if self.kind is InputKind.PICTURE else self.shape[0]

    @property
    def pixel_channels(self) -> int:
        """Channels of the pixels of every picture."""
        return 1 if self.kind.of_planes else self.shape[-3]

    @property
    def largest(self) -> int:
        """The brightest pixel."""
        return (1 << self.bits) - 1

    @property
    def qtype(self) -> QType:
        """The type of the codes."""
        return pixel_type(self.bits)

    @property
    def is_plain(self) -> bool:
        """Whether it is one picture of 8-bit pixels: all that there was once."""
        return (self.kind, self.bits, self.window) == (InputKind.PICTURE, 8, None)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads back."""
        window = None if self.window is None else [float(end) for end in self.window]
        return {"kind": str(self.kind), "shape": list(self.shape), "bits": self.bits, "window": window}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> InputSpec:
        """Return the input that ``document`` describes.

        Raises:
            ValueError, TypeError, KeyError, ConfigError: it is none.
        """
        if set(document) != _FIELDS or type(document["bits"]) is not int:
            raise ValueError("fields")
        window = document["window"]
        if window is not None:
            lo, hi = window
            window = float(lo), float(hi)
        return cls(
            kind=InputKind(document["kind"]),
            shape=tuple(document["shape"]),
            bits=document["bits"],
            window=window,
        )


def _wrong(got: str, expected: str) -> ConfigError:
    return ConfigError(got, expected=expected, remedy="Correct the description of the model's input.")
