"""Where a party's correlated randomness comes from: its seed, and a stream of corrections in op order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mpcvit.errors import DealerLost, InputError
from mpcvit.ring.prg import SEED_BYTES


class MaterialSource(ABC):
    """One party's material for one session: read once, front to back."""

    @property
    @abstractmethod
    def seed(self) -> bytes:
        """This party's 32-byte session seed from the dealer."""

    @abstractmethod
    def read(self, count: int) -> memoryview:
        """Return the next ``count`` bytes of corrections; blocks until the dealer has sent them.

        Raises:
            DealerLost: the stream ended early or broke.
            DealerTimeout: it stalled.
        """


@dataclass(repr=False)
class MemoryMaterial(MaterialSource):
    """Material that lies in memory as a whole."""

    session_seed: bytes
    corrections: bytes
    _position: int = 0

    def __post_init__(self) -> None:
        if len(self.session_seed) != SEED_BYTES:
            raise InputError(
                f"a session seed of {len(self.session_seed)} bytes",
                expected=f"{SEED_BYTES} bytes",
                remedy="Use the material of mpcvit.engines.crypten.dealer.",
            )

    @property
    def seed(self) -> bytes:
        return self.session_seed

    def read(self, count: int) -> memoryview:
        end = self._position + count
        if end > len(self.corrections):
            raise DealerLost(
                f"{len(self.corrections)} bytes of corrections",
                expected=f"at least {end}",
                remedy="Deal for the same Program and number of parties that run it.",
            )
        view = memoryview(self.corrections)[self._position : end]
        self._position = end
        return view
