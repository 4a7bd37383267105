"""The public description of a secret-shared model, identical at all parties and shown to clients."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from mpcvit.errors import ModelFileError
from mpcvit.ring.qtype import QType

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A model as its parties hold it.

    Attributes:
        name, version: what clients ask for.
        program_sha256: digest of the Program, 64 hex digits.
        share_set: 32 random hex digits, new each time the weights are shared: parties with shares of different
            sets do not start a session.
        parties: number of compute parties.
        input_shape: [channels, height, width].
        input_type: fixed-point type of a normalised input value.
        output_frac: fractional bits of the logits.
        labels: one name per logit.
        mean, std: per channel, for pixels scaled to [0, 1]: value = (pixel - mean) / std.
    """

    name: str
    version: str
    program_sha256: str
    share_set: str
    parties: int
    input_shape: tuple[int, int, int]
    input_type: QType
    output_frac: int
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def canonical(self) -> bytes:
        """Canonical JSON: equal manifests give equal bytes."""
        return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the canonical form, 32 bytes."""
        return hashlib.sha256(self.canonical()).digest()

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """The manifest whose JSON form is given.

        Raises:
            ModelFileError: another format version, or a field is missing or wrong.
        """
        try:
            document: dict[str, Any] = json.loads(raw)
            version = document.pop("format", None)
            if version != FORMAT_VERSION or set(document) != {field.name for field in fields(cls)}:
                raise ValueError(f"format {version}")
            document["input_type"] = QType(**document["input_type"])
            for name in ("input_shape", "labels", "mean", "std"):
                document[name] = tuple(document[name])
            return cls(**document)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelFileError(
                f"a manifest with {type(error).__name__}",
                expected=f"the fields of format {FORMAT_VERSION}",
                remedy="Share the model again with 'mpcvit model share' of this version.",
            ) from error
