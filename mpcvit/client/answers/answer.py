"""The base of all answers, and the checks that every joined result passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mpcvit.errors import AnswerOutOfRange
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.wire.manifest import Manifest


class Answer(ABC):
    """What a model says about a picture, known to the client alone. Its repr shows nothing of it."""

    @classmethod
    @abstractmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        """Return the answer of a model whose joined result is ``codes``, int64 [outputs].

        Raises:
            AnswerOutOfRange: the model never gives such a result.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<hidden>)"


def untrusted(got: str, expected: str) -> AnswerOutOfRange:
    """Return why there is no answer. Says nothing of what was joined."""
    return AnswerOutOfRange(
        got,
        expected=expected,
        remedy="This picture takes the model out of the range that it was exported for; no answer can be trusted. Ask "
        "the model's owner for an export with proven ranges.",
    )


def real_numbers(manifest: Manifest, codes: Codes, what: str) -> npt.NDArray[np.float64]:
    """Return float64 [outputs].

    Raises:
        AnswerOutOfRange: some are outside of the bounds that the manifest declares.
    """
    kind = manifest.output_type
    numbers = decode(codes, kind.frac)
    if numbers.min() < kind.lo - kind.step or numbers.max() > kind.hi + kind.step:
        raise untrusted(f"{what} that the model never gives", f"from {kind.lo:g} to {kind.hi:g}")
    return numbers


def bits(codes: Codes) -> npt.NDArray[np.bool_]:
    """Return bool [outputs].

    Raises:
        AnswerOutOfRange: some are neither 0 nor 1.
    """
    if not np.isin(codes, (0, 1)).all():
        raise untrusted("a joined result that is no bits", "0 or 1")
    return codes.astype(np.bool_)
