"""What a model reads, as its description and its manifest say it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mpcvit.errors import ConfigError
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.ring.qtype import PIXEL, QType

SPECS = {
    "picture": InputSpec(shape=(3, 8, 6)),
    "gray": InputSpec(shape=(1, 8, 6), bits=16, window=(-1000, 400.5)),
    "channels": InputSpec(kind=InputKind.CHANNELS, shape=(5, 8, 6)),
    "clip": InputSpec(kind=InputKind.CLIP, shape=(4, 3, 8, 6)),
    "volume": InputSpec(kind=InputKind.VOLUME, shape=(4, 8, 6), bits=16),
    "bag": InputSpec(kind=InputKind.BAG, shape=(4, 1, 8, 6)),
    "person": InputSpec(kind=InputKind.PERSON, shape=(2, 3, 8, 6)),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_description_comes_back(spec: InputSpec) -> None:
    """JSON and back."""
    assert InputSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("name", "parts", "channels", "pixel_channels", "text"),
    [
        ("picture", 1, 3, 3, r"^a picture of 6 x 8 8-bit pixels \(width x height\) of 3 channel"),
        ("gray", 1, 1, 1, "^a picture of 6 x 8 16-bit"),
        ("channels", 5, 5, 1, "^a stack of channels: 5 channels of"),
        ("clip", 4, 3, 3, "^a clip: 4 frames"),
        ("volume", 4, 1, 1, "^a volume: 4 slices of 6 x 8 16-bit"),
        ("bag", 4, 1, 1, "^a bag of pictures: 4 pictures"),
        ("person", 2, 3, 3, "^pictures of one person: 2 pictures"),
    ],
)
def test_axes_mean_what_the_kind_says(name: str, parts: int, channels: int, pixel_channels: int, text: str) -> None:
    """Which pictures there are, what is normalised by itself, and what people are told."""
    spec = SPECS[name]
    assert (spec.parts, spec.channels, spec.pixel_channels, spec.size) == (parts, channels, pixel_channels, (8, 6))
    assert re.search(text, str(spec))


def test_codes_have_the_range_of_their_bits() -> None:
    """One picture of 8 bits is what there was before; no other input is."""
    assert SPECS["picture"].qtype == PIXEL
    assert SPECS["gray"].qtype == QType(frac=0, lo=0.0, hi=65535.0)
    assert [name for name, spec in SPECS.items() if spec.is_plain] == ["picture"]


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": (3, 8)},
        {"shape": (3, 8, 0)},
        {"shape": (3, 8, 8.0)},
        {"shape": (3, 8, 8), "bits": 12},
        {"kind": InputKind.BAG, "shape": (3, 8, 8)},
        {"kind": InputKind.VOLUME, "shape": (1, 3, 8, 8)},
        {"shape": (3, 8, 8), "window": (0.0, 1.0)},
        {"shape": (1, 8, 8), "window": (1.0, 1.0)},
        {"shape": (1, 8, 8), "window": (0.0, float("inf"))},
    ],
)
def test_what_does_not_fit_together_is_no_input(fields: dict[str, Any]) -> None:
    """Numbers of axes, bits and windows are checked."""
    with pytest.raises(ConfigError):
        InputSpec(**fields)


@pytest.mark.parametrize(
    "change", [{"bits": 8.0}, {"more": 1}, {"kind": "sound"}, {"shape": 3}, {"window": [1]}, {"window": ["a", "b"]}]
)
def test_damaged_descriptions_are_refused(change: dict[str, Any]) -> None:
    """By an exception that readers of files make a typed error of."""
    with pytest.raises((ValueError, TypeError, KeyError, IndexError, ConfigError)):
        InputSpec.from_json({**SPECS["gray"].to_json(), **change})
