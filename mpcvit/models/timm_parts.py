"""Whether the parts of a model of timm's are ones that we have."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import nn

from mpcvit.errors import ConfigError

Kinds = tuple[type[Any], ...]
#: Nothing may be there.
MISSING: Kinds = (nn.Identity, type(None))


@dataclass(frozen=True)
class Parts:
    """What may be where in a kind of model; by path, exact classes. A path that does not exist counts as missing.

    Attributes:
        supported: the kind in words, for messages.
    """

    supported: str
    kinds: dict[str, Kinds]

    def check(self, root: Any, prefix: str = "") -> None:
        """Raise ConfigError, naming the part after ``prefix``, unless every part of ``root`` is of one of its kinds."""
        for path, kinds in self.kinds.items():
            try:
                found = attrgetter(path)(root)
            except AttributeError:
                found = None
            if type(found) not in kinds:
                wanted = "missing" if kinds is MISSING else " or ".join(sorted({kind.__name__ for kind in kinds}))
                raise self.refused(f"{prefix}{path} is {part_name(found)} instead of {wanted}")

    def refused(self, fact: str) -> ConfigError:
        """Return the error for a model of which ``fact`` holds."""
        return ConfigError(
            f"a timm model whose {fact}",
            expected=self.supported,
            remedy="Choose another model of timm, or write this part as a layer of mpcvit.models.",
        )

    def check_values(self, values: list[tuple[str, Any, Any]]) -> None:
        """Raise ConfigError for the first of (what, got, expected) where got is not expected."""
        for what, got, expected in values:
            if got != expected:
                raise self.refused(f"{what} is {got} instead of {expected}")


def part_name(part: object) -> str:
    """Return its class, in words."""
    return "missing" if part is None else type(part).__name__
