"""An exported model on disk, in clear: what its owner keeps and shares from.

``model.json`` (name, version, labels, preprocessing, what is revealed), ``program.json``, ``weights.safetensors``; and
``budgets``, if it has other Programs on the same weights (:mod:`mpcvit.store.budgets`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mpcvit.errors import BudgetUnknown, ConfigError, InputError, ModelFileError, NotRevealed
from mpcvit.inputs import InputSpec
from mpcvit.ops.types import TensorType
from mpcvit.program.files import load_program, load_weights, save_program, save_weights
from mpcvit.program.program import Program
from mpcvit.program.reference import Weights
from mpcvit.ring.qtype import PIXEL
from mpcvit.store.budgets import BUDGETS_FOLDER, BudgetProgram, budget_folders
from mpcvit.wire.budget import FULL
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.reveal import LOGITS, Disclosure, RevealKind

DESCRIPTION_FILE = "model.json"
_RGB = 3


@dataclass(frozen=True, kw_only=True)
class Description:
    """What people need to know about a model.

    Attributes:
        name, version: what clients ask for.
        labels: one name per class; none where answers speak of no labels.
        mean, std: per channel, for pixels in [0, 1].
        reveal: what the Program's output is; logits in folders from before there was a choice.
        input: what the model reads; None, as in folders from before there was a choice, is one picture of 8-bit
            pixels, of the shape that the Program says.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reveal: Disclosure = LOGITS
    input: InputSpec | None = None

    def check_ranked(self, purpose: str) -> None:
        """Raise NotRevealed unless the model reveals its likeliest label, which ``purpose`` needs."""
        if not self.reveal.kind.facts.ranked:
            raise NotRevealed(
                f"{purpose} with '{self.name}', which reveals {self.reveal}",
                expected="a model that reveals logits, topk or label",
                remedy="Export the model with one of these, or score its answers with the client SDK.",
            )

    def save(self, folder: Path) -> None:
        """Write ``folder/model.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {**asdict(self), "reveal": self.reveal.to_json()}
        del document["input"]
        if self.input is not None:
            document["input"] = self.input.to_json()
        (folder / DESCRIPTION_FILE).write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Description:
        """Return what :meth:`save` wrote.

        Raises:
            ModelFileError: the file is missing or damaged.
        """
        path = folder / DESCRIPTION_FILE
        try:
            document = json.loads(path.read_text())
            for name in ("labels", "mean", "std"):
                document[name] = tuple(document[name])
            if "reveal" in document:
                document["reveal"] = Disclosure.from_json(document["reveal"])
            if "input" in document:
                document["input"] = InputSpec.from_json(document["input"])
            return cls(**document)
        except (OSError, ValueError, TypeError, KeyError, ConfigError) as error:
            raise ModelFileError(
                f"{type(error).__name__} reading {path}",
                expected="a folder written by 'mpcvit model export'",
                remedy="Export the model first, or correct the path.",
            ) from error


@dataclass(frozen=True, repr=False)
class ModelFolder:
    """An exported model in memory.

    Attributes:
        program, weights: of the whole model.
        budgets: its other Programs, by name, on the same weights.

    Raises:
        ModelFileError: the Program reads something else than the input that the description names, or its output is not
            what it says that it reveals.
    """

    description: Description
    program: Program
    weights: Weights
    budgets: Mapping[str, BudgetProgram] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_input()
        for name in self.budgets:
            self.at(name)
        output, reveal = self.program.types[self.program.output], self.description.reveal
        if not _is_answer(output, reveal, len(self.description.labels)):
            raise ModelFileError(
                f"a Program with output {output} for a model of {len(self.description.labels)} labels that reveals "
                f"{reveal}",
                expected=f"{reveal.outputs(len(self.description.labels))} "
                f"{'real numbers' if reveal.kind.facts.real else 'integers'}",
                remedy="Export the model again, with as many labels as it has (--labels); its files belong together.",
            )

    def _check_input(self) -> None:
        inputs = list(self.program.inputs.values())
        spec = self.description.input
        found = [(kind.shape, kind.qtype) for kind in inputs]
        plain = spec is None and len(found) == 1 and len(inputs[0].shape) == 3 and inputs[0].qtype == PIXEL
        if not plain and (spec is None or found != [(spec.shape, spec.qtype)]):
            raise ModelFileError(
                f"a Program that reads {', '.join(map(str, inputs))}",
                expected="one that reads a picture's 8-bit pixels" if spec is None else f"one that reads {spec}",
                remedy="Export the model again with this version of mpcvit; its files belong together.",
            )
        channels = self.input.channels
        if {len(self.description.mean), len(self.description.std)} != {channels}:
            raise ModelFileError(
                f"{len(self.description.mean)} means and {len(self.description.std)} deviations for {self.input}",
                expected=f"{channels} of each",
                remedy="Export the model again with those of its training pictures.",
            )

    @property
    def input(self) -> InputSpec:
        """What the model reads."""
        (kind,) = self.program.inputs.values()
        return self.description.input or InputSpec(shape=kind.shape)

    @property
    def reads_rgb(self) -> bool:
        """Whether the model reads one picture of 8-bit RGB pixels."""
        return self.input.is_plain and self.input.channels == _RGB

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the model's pictures, for what shows a model 8-bit RGB pictures only.

        Raises:
            InputError: it reads something else.
        """
        if not self.reads_rgb:
            raise InputError(
                f"a model that reads {self.input}",
                expected="a model of 8-bit RGB pictures, for this command",
                remedy="Ask for answers with mpcvit infer, or mpcvit.client.Client.",
            )
        return self.input.size

    @property
    def programs(self) -> dict[str, Program]:
        """All Programs by budget, the whole model's first."""
        return {FULL: self.program, **{name: budget.program for name, budget in self.budgets.items()}}

    def at(self, budget: str) -> ModelFolder:
        """Return the model with one of its Programs, as if there was no other.

        Raises:
            BudgetUnknown: it has no such budget.
        """
        if budget == FULL:
            return replace(self, budgets={})
        if budget not in self.budgets:
            raise BudgetUnknown.of(self.description.name, budget, [FULL, *self.budgets])
        chosen = self.budgets[budget]
        return ModelFolder(self.description, chosen.program, chosen.weights(self.weights))

    def manifest(self, share_set: str, program_file_sha256: str, share_sha256: tuple[str, ...]) -> Manifest:
        """Return the manifest of one sharing of this model.

        Args:
            share_set: 32 fresh random hex digits.
            program_file_sha256: digest of ``program.json``, 64 hex digits.
            share_sha256: digest of every party's share file, party 0 first.
        """
        return Manifest(
            name=self.description.name,
            version=self.description.version,
            program_sha256=self.program.digest,
            share_set=share_set,
            parties=len(share_sha256),
            program_file_sha256=program_file_sha256,
            share_sha256=share_sha256,
            input=self.input,
            output_type=self.program.types[self.program.output].qtype,
            labels=self.description.labels,
            mean=self.description.mean,
            std=self.description.std,
            reveal=self.description.reveal,
            ranges=self.program.ranges,
        )

    def save(self, folder: Path) -> None:
        """Write the model's files into ``folder``."""
        save_program(self.program, folder)
        save_weights(self.program, self.weights, folder)
        self.description.save(folder)
        for name, budget in self.budgets.items():
            budget.save(folder / BUDGETS_FOLDER / name)

    @classmethod
    def load(cls, folder: Path) -> ModelFolder:
        """Return the model in ``folder``.

        Raises:
            ModelFileError: a file is missing or damaged.
            ShapeMismatch: the weights do not belong to the program.
        """
        description = Description.load(folder)
        program = load_program(folder)
        budgets = {name: BudgetProgram.load(path) for name, path in budget_folders(folder).items()}
        return cls(description, program, load_weights(program, folder), budgets)


def _is_answer(output: TensorType, reveal: Disclosure, labels: int) -> bool:
    """Return whether a Program's output is what a model of so many labels reveals."""
    if not reveal.complete or not reveal.fits(labels) or output.shape != (reveal.outputs(labels),):
        return False
    if reveal.kind is RevealKind.MAP and output.qtype.hi != math.prod(reveal.shape) * labels - 1:
        return False  # positions are counted through places and labels
    return reveal.kind.facts.real or not output.frac
