"""What a model reads at a time."""

from __future__ import annotations

from enum import StrEnum


class InputKind(StrEnum):
    """One picture, or several that belong together; with the axes of the codes that a Program reads.

    ``PICTURE`` [channels, height, width]: one picture. ``CHANNELS``, the same axes: a gray picture per channel, such as
    stains or spectral bands. ``CLIP`` [frames, channels, height, width]: of one camera, in order. ``VOLUME`` [slices,
    height, width]: gray slices, in order. ``BAG`` [pictures, channels, height, width]: of one case, in any order.
    ``PERSON``, the same axes: several pictures of one person.
    """

    PICTURE = "picture"
    CHANNELS = "channels"
    CLIP = "clip"
    VOLUME = "volume"
    BAG = "bag"
    PERSON = "person"

    @property
    def part(self) -> str:
        """What there is several of, in the plural."""
        return _PARTS[self]

    @property
    def phrase(self) -> str:
        """It, for messages."""
        return _PHRASES[self]

    @property
    def of_planes(self) -> bool:
        """Whether every part is one gray plane of the input."""
        return self in (InputKind.CHANNELS, InputKind.VOLUME)

    @property
    def sampled(self) -> bool:
        """Whether parts follow each other at even distances, so that a model may be shown every second one."""
        return self in (InputKind.CLIP, InputKind.VOLUME)


_PARTS = {
    InputKind.PICTURE: "pictures",
    InputKind.CHANNELS: "channels",
    InputKind.CLIP: "frames",
    InputKind.VOLUME: "slices",
    InputKind.BAG: "pictures",
    InputKind.PERSON: "pictures",
}

_PHRASES = {
    InputKind.PICTURE: "a picture",
    InputKind.CHANNELS: "a stack of channels",
    InputKind.CLIP: "a clip",
    InputKind.VOLUME: "a volume",
    InputKind.BAG: "a bag of pictures",
    InputKind.PERSON: "pictures of one person",
}
