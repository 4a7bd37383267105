"""The public description of a secret-shared model, identical at all parties and shown to clients."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mpcvit.errors import ModelFileError, MpcvitError
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.ring.qtype import QType
from mpcvit.wire.budget import FULL, BudgetCost, is_budget
from mpcvit.wire.ranges import Ranges
from mpcvit.wire.reveal import LOGITS, Disclosure

#: 2: with ``reveal``. 3: inputs are pixels, results have bounds and are checked. 4: with digests of files.
FORMAT_VERSION = 4
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: What the manifest of the whole model's Program does not have.
_OF_BUDGETS = {"budget", "views_sha256", "programs"}
#: The input of a manifest that names its shape alone.
_PLAIN = {"kind": InputKind.PICTURE, "bits": 8, "window": None}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A model as its parties hold it.

    Attributes:
        name, version: what clients ask for.
        program_sha256: digest of the Program, 64 hex digits.
        share_set: 32 random hex digits, new each time the weights are shared: parties with shares of different
            sets do not start a session.
        parties: number of compute parties.
        program_file_sha256: of ``program.json`` as it lies in every share folder, 64 hex digits.
        share_sha256: of every party's share file, party 0 first, 64 hex digits each. They say nothing of a share to
            whoever does not hold the file: it has 32 random bytes of its own.
        input: what the model reads.
        output_type: fixed-point type of the result: fractional bits, and the bounds outside of which it is no answer.
        labels: one name per class; none where answers speak of no labels.
        mean, std: per channel: what the model makes of a pixel is (pixel / brightest - mean) / std, with 255 or 65535
            as the brightest pixel.
        reveal: what a result is: logits, positions in ``labels``, or what else the model says.
        ranges: whether any picture can make a value leave the range for which protocols are right.
        budget: which of the model's Programs this is about, all of them on the same shares.
        views_sha256: of another budget's ``views.json``, which says what of the stored tensors it reads, 64 hex digits.
        programs: all Programs of the model, in manifests of other budgets than the whole model's. That of the whole
            model is as it would be without any.
    """

    name: str
    version: str
    program_sha256: str
    share_set: str
    parties: int
    program_file_sha256: str
    share_sha256: tuple[str, ...]
    input: InputSpec
    output_type: QType
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reveal: Disclosure = LOGITS
    ranges: Ranges = Ranges.CALIBRATED
    budget: str = FULL
    views_sha256: str = ""
    programs: tuple[BudgetCost, ...] = ()

    @property
    def key(self) -> str:
        """What tells Programs apart at one party: ``NAME:VERSION``, and ``@BUDGET`` if it is not the whole model's."""
        return f"{self.name}:{self.version}" + ("" if self.budget == FULL else f"@{self.budget}")

    @property
    def pin_name(self) -> str:
        """The name under which a client pins this: ``NAME``, and ``@BUDGET`` if it is not the whole model's."""
        return self.name if self.budget == FULL else f"{self.name}@{self.budget}"

    def whole(self, model: Manifest) -> Manifest:
        """Return the manifest of the whole model's Program that this one's belongs to, if it belongs to ``model``.

        What may differ between Programs of one model is taken from ``model``: digests and types of the Program.
        """
        return replace(
            self,
            budget=FULL,
            views_sha256="",
            programs=(),
            program_sha256=model.program_sha256,
            program_file_sha256=model.program_file_sha256,
            output_type=model.output_type,
            ranges=model.ranges,
        )

    @property
    def outputs(self) -> int:
        """Codes in a result."""
        return self.reveal.outputs(len(self.labels))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input's codes, without batch axis."""
        return self.input.shape

    def canonical(self) -> bytes:
        """Return canonical JSON: equal manifests give equal bytes.

        One picture of 8-bit pixels is ``input_shape``, as before there were others; what else there is, is ``input``.
        """
        document = {"format": FORMAT_VERSION, **asdict(self), "reveal": self.reveal.to_json()}
        del document["input"]
        if self.input.is_plain:
            document["input_shape"] = self.input.shape
        else:
            document["input"] = self.input.to_json()
        if self.budget == FULL:
            for name in _OF_BUDGETS:
                del document[name]
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the canonical form, 32 bytes."""
        return hashlib.sha256(self.canonical()).digest()

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """Return the manifest whose JSON form is given.

        Raises:
            ModelFileError: another format version, a field is missing or wrong, or the form is not canonical.
        """
        try:
            document: dict[str, Any] = json.loads(raw)
            version = document.pop("format", None)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _unreadable(f"a manifest with {type(error).__name__}") from error
        if version != FORMAT_VERSION:
            raise _unreadable(f"a manifest of format {version}")
        try:
            if "input_shape" in document:
                document["input"] = {**_PLAIN, "shape": document.pop("input_shape")}
            if not _OF_BUDGETS & set(document):
                document |= {"budget": FULL, "views_sha256": "", "programs": ()}
            if set(document) != {field.name for field in fields(cls)}:
                raise ValueError("fields")
            document["input"] = InputSpec.from_json(document["input"])
            document["output_type"] = QType(**document["output_type"])
            document["ranges"] = Ranges(document["ranges"])
            document["reveal"] = Disclosure.from_json(document["reveal"])
            document["programs"] = tuple(BudgetCost(**entry) for entry in document["programs"])
            for name in ("share_sha256", "labels", "mean", "std"):
                document[name] = tuple(document[name])
            manifest = cls(**document)
            manifest._check(raw)
            return manifest
        except (ValueError, TypeError, KeyError, AttributeError, MpcvitError) as error:
            raise _unreadable(f"a manifest with {type(error).__name__}") from error

    def _check(self, raw: bytes) -> None:
        """Raise ValueError unless fields agree with each other and ``raw`` is the canonical form."""
        if not all(isinstance(text, str) for text in (self.name, self.version, self.share_set, *self.labels)):
            raise ValueError("texts")
        numbers = (*self.mean, *self.std)
        if len(numbers) != 2 * self.input.channels or not all(map(math.isfinite, numbers)):
            raise ValueError("mean or std")
        if not self.reveal.complete or not self.reveal.fits(len(self.labels)):
            raise ValueError("reveal")
        digests = (self.program_sha256, self.program_file_sha256, *self.share_sha256)
        if len(self.share_sha256) != self.parties or not all(_SHA256.fullmatch(digest) for digest in digests):
            raise ValueError("digests")
        self._check_budget()
        if self.canonical() != raw:  # what is signed, and what clients pin, is these bytes
            raise ValueError("form")

    def _check_budget(self) -> None:
        """Raise ValueError unless what the manifest says of its budget fits together."""
        if self.budget == FULL:
            return
        found = {program.budget: program for program in self.programs}
        numbers = [n for one in self.programs for n in (one.rounds, one.bytes_sent, one.material_bytes)]
        if (
            not is_budget(self.budget)
            or len(found) != len(self.programs)
            or not all(is_budget(name) or name == FULL for name in found)
            or not {FULL, self.budget} <= found.keys()
            or found[self.budget].program_sha256 != self.program_sha256
            or not all(_SHA256.fullmatch(one.program_sha256) for one in self.programs)
            or not _SHA256.fullmatch(self.views_sha256)
            or not all(type(number) is int and number >= 0 for number in numbers)
        ):
            raise ValueError("budget")


def _unreadable(got: str) -> ModelFileError:
    return ModelFileError(
        got,
        expected=f"the fields of format {FORMAT_VERSION}",
        remedy="Share the model again with 'mpcvit model share' of this version, and run this version everywhere.",
    )
