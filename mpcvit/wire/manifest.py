"""The public description of a secret-shared model, identical at all parties and shown to clients."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from mpcvit.errors import ModelFileError, MpcvitError
from mpcvit.ring.qtype import QType
from mpcvit.wire.reveal import LOGITS, Reveal, RevealKind

#: 2: with ``reveal``.
FORMAT_VERSION = 2


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
        output_frac: fractional bits of the result: of the logits, or 0 if labels are revealed.
        labels: one name per class.
        mean, std: per channel, for pixels scaled to [0, 1]: value = (pixel - mean) / std.
        reveal: what a result is: logits, or positions in ``labels``, likeliest first.
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
    reveal: Reveal = LOGITS

    @property
    def outputs(self) -> int:
        """Codes in a result."""
        return self.reveal.outputs(len(self.labels))

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
        except (ValueError, TypeError, AttributeError) as error:
            raise _unreadable(f"a manifest with {type(error).__name__}") from error
        if version != FORMAT_VERSION:
            raise _unreadable(f"a manifest of format {version}")
        try:
            if set(document) != {field.name for field in fields(cls)}:
                raise ValueError("fields")
            document["input_type"] = QType(**document["input_type"])
            document["reveal"] = reveal_from_json(document["reveal"])
            for name in ("input_shape", "labels", "mean", "std"):
                document[name] = tuple(document[name])
            manifest = cls(**document)
            if manifest.reveal.top > len(manifest.labels):
                raise ValueError("more labels than there are")
            return manifest
        except (ValueError, TypeError, KeyError, AttributeError, MpcvitError) as error:
            raise _unreadable(f"a manifest with {type(error).__name__}") from error


def reveal_from_json(document: dict[str, Any]) -> Reveal:
    """The Reveal that ``dataclasses.asdict`` took apart.

    Raises:
        ValueError, TypeError, KeyError, ConfigError: it is none.
    """
    kind, top = document["kind"], document["top"]
    if type(top) is not int or len(document) != 2:
        raise ValueError("top")
    return Reveal(RevealKind(kind), top)


def _unreadable(got: str) -> ModelFileError:
    return ModelFileError(
        got,
        expected=f"the fields of format {FORMAT_VERSION}",
        remedy="Share the model again with 'mpcvit model share' of this version, and run this version everywhere.",
    )
