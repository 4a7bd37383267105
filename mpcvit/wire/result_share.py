"""What a party gives the client in the end."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.ring.fixed_point import Codes


@dataclass(frozen=True, repr=False)
class ResultShare:
    """One party's part of an answer.

    Attributes:
        codes: its share of the output, int64 [outputs].
        digest: 32 bytes, the same at both parties if all guarded gates were right, and hiding everything else. Empty
            where the parties guard nothing (the stock engine).
    """

    codes: Codes
    digest: bytes = b""
