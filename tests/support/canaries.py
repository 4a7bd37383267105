"""Secrets that tests know, in every form in which a program could print them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

#: Bytes of a secret that count as having leaked it; fewer could be chance.
_LEAST = 12
_NUMBERS = 4


class Canaries:
    """Known secrets, by what they are.

    Files are searched for raw bytes, hex, Base64, Python's ``repr`` of bytes, and lists of numbers.
    """

    def __init__(self) -> None:
        self._needles: dict[bytes, str] = {}

    def add_bytes(self, what: str, secret: bytes) -> None:
        """A key, a seed, or a share as bytes."""
        head = secret[:32]
        for form in (
            head,
            head.hex().encode(),
            head.hex().upper().encode(),
            base64.b64encode(head)[: 4 * len(head) // 3],
            base64.urlsafe_b64encode(head)[: 4 * len(head) // 3],
            repr(head)[2:-1].encode(),
        ):
            if len(form) >= _LEAST:
                self._needles[form] = what

    def add_numbers(self, what: str, values: Iterable[float]) -> None:
        """Pixels, codes or logits: consecutive ones as lists print them, and single ones of many digits."""
        texts = [str(value) for value in values]
        for start in range(len(texts) - _NUMBERS + 1):
            run = texts[start : start + _NUMBERS]
            for separator in (", ", ",", " ", "\n"):
                self._needles[separator.join(run).encode()] = what
        for text in texts:
            if len(text.lstrip("-")) >= 9:
                self._needles[text[:12].encode()] = what

    def add_array(self, what: str, array: np.ndarray) -> None:
        """An array, as bytes and as numbers."""
        self.add_bytes(what, array.tobytes())
        self.add_numbers(what, array.reshape(-1)[:64].tolist())

    def __len__(self) -> int:
        return len(self._needles)

    def found_in(self, path: Path) -> Iterator[str]:
        """What of it is in a file."""
        content = path.read_bytes()
        for needle, what in self._needles.items():
            if needle in content:
                yield what
