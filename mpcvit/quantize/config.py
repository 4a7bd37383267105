"""How a model is to be quantized, as data that a file can hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mpcvit.errors import ConfigError

MIN_BITS, MAX_BITS = 2, 16


class Method(StrEnum):
    """Which quantizers sit where, and how they and the weights around them are calibrated."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    REPQ = "repq"
    ADALOG = "adalog"
    MPTQ = "mptq"
    IS_VIT = "is_vit"
    DOPQ = "dopq"
    POWER_OF_TWO = "power_of_two"


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Widths of the codes of a layer's weights and of the activations that it reads.

    Raises:
        ConfigError: a width is no whole number, or outside 2 to 16.
    """

    weight: int
    activation: int

    def __post_init__(self) -> None:
        for what, bits in (("weight", self.weight), ("activation", self.activation)):
            if not _is_whole(bits) or not MIN_BITS <= bits <= MAX_BITS:
                raise ConfigError(
                    f"{bits!r} {what} bits",
                    expected=f"a whole number from {MIN_BITS} to {MAX_BITS}",
                    remedy="Choose a width in this range.",
                )


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """A method and its widths.

    Attributes:
        bits: of every layer that ``layers`` does not name.
        layers: other widths, by a layer's module name (``blocks.3.mlp.fc1``); products of activations in an attention
            go by the name of the attention (``blocks.3.attn``), and only their activation bits count.
        reconstruct: whether rounding and scales are learnt block by block after calibration.
        steps: of reconstruction, per block.

    Raises:
        ConfigError: a width is outside the range, a layer is named twice, or a field is of another type.
    """

    method: Method
    bits: Bits
    layers: tuple[tuple[str, Bits], ...] = ()
    reconstruct: bool = False
    steps: int = 1000

    def __post_init__(self) -> None:
        names = [name for name, _ in self.layers]
        if len(set(names)) != len(names):
            raise ConfigError(f"layers {names}", expected="each name once", remedy="Give one width per layer.")
        problems = [
            (not isinstance(self.method, Method), f"method {self.method!r}", f"one of {', '.join(Method)}"),
            (not all(isinstance(name, str) for name in names), f"layers {names}", "names of layers"),
            (type(self.reconstruct) is not bool, f"reconstruct {self.reconstruct!r}", "true or false"),
            (not _is_whole(self.steps) or self.steps < 1, f"{self.steps!r} steps", "a whole number, at least 1"),
        ]
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the configuration.")

    def bits_of(self, layer: str) -> Bits:
        """Return the widths of one layer."""
        return dict(self.layers).get(layer, self.bits)


def _is_whole(value: object) -> bool:
    """Return whether a file's value is a whole number; its true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
