"""What a ViT is made of, as data that a search can produce and a file can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from mpcvit.errors import ConfigError


class AttentionKind(StrEnum):
    """What one head does with its scores S = Q K^T / sqrt(d)."""

    SOFTMAX = "softmax"
    RELU_SOFTMAX = "relu_softmax"
    SCALING = "scaling"


class Activation(StrEnum):
    """What an MLP does between its two linear layers."""

    GELU = "gelu"
    RELU = "relu"
    QUAD = "quad"
    IDENTITY = "identity"


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A pre-norm ViT with norm and linear head on the mean token, or on a class token.

    Attributes:
        image_size: side of the square input, pixels; a multiple of ``patch_size``.
        patch_size: side of a square patch, pixels.
        classes: number of labels.
        dim: width of the residual stream; a multiple of the number of heads.
        hidden: width of each MLP.
        heads: per block, the kind of each head; all blocks have equally many.
        activations: per block, the activation of its MLP.
        channels: colour channels of the input.
        class_token: whether a learnt token is put before the patches, and read by the head instead of the mean.

    Raises:
        ConfigError: the numbers do not fit together.
    """

    image_size: int
    patch_size: int
    classes: int
    dim: int
    hidden: int
    heads: tuple[tuple[AttentionKind, ...], ...]
    activations: tuple[Activation, ...]
    channels: int = 3
    class_token: bool = False

    def __post_init__(self) -> None:
        sizes = (self.image_size, self.patch_size, self.classes, self.dim, self.hidden, self.channels)
        widths = {len(block) for block in self.heads}
        problems = [
            (min(sizes) < 1, f"sizes {sizes}", "positive sizes"),
            (
                self.patch_size < 1 or self.image_size % max(self.patch_size, 1) != 0,
                f"image {self.image_size} and patch {self.patch_size}",
                "an image size that the patch size divides",
            ),
            (
                len(widths) != 1 or 0 in widths,
                f"blocks with {sorted(widths)} heads",
                "equally many heads (at least one) in every block",
            ),
            (
                len(self.activations) != len(self.heads),
                f"{len(self.activations)} activations for {len(self.heads)} blocks",
                "one activation per block",
            ),
        ]
        if len(widths) == 1 and 0 not in widths:
            problems.append(
                (
                    self.dim % self.head_count != 0,
                    f"dim {self.dim} for {self.head_count} heads",
                    "a width that the number of heads divides",
                )
            )
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the model configuration.")

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.heads)

    @property
    def head_count(self) -> int:
        """Heads per block."""
        return len(self.heads[0])

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.head_count

    @property
    def patches(self) -> int:
        """Number of patches."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens(self) -> int:
        """Number of patches, and one more with a class token."""
        return self.patches + self.class_token

    @property
    def patch_values(self) -> int:
        """Numbers in one patch."""
        return self.channels * self.patch_size**2

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ViTConfig:
        """The configuration that :meth:`to_json` wrote.

        Raises:
            ConfigError: a field or a kind is unknown or missing.
        """
        try:
            heads = tuple(tuple(AttentionKind(kind) for kind in block) for block in document["heads"])
            activations = tuple(Activation(kind) for kind in document["activations"])
            return cls(**{**document, "heads": heads, "activations": activations})
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"a model configuration with {error}",
                expected="the fields of ViTConfig and known kinds",
                remedy="Write configurations with ViTConfig.to_json.",
            ) from error
