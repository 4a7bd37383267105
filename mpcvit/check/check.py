"""``mpcvit model check``: families of hard pictures and attacks through the reference, beside the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mpcvit.check.ascent import Ascent, Target
from mpcvit.check.edges import Edge, Watch
from mpcvit.check.families import Pixels, pictures
from mpcvit.export.normalisation import Normalisation
from mpcvit.models.backbones import FloatModel
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.exported import ModelFolder

#: Told (what is being done, done, in all).
ReportProgress = Callable[[str, int, int], None]

_BATCH = 50
#: Pictures that are attacked side by side.
_ATTACKED = 25
_ATTACK = "attack"
#: Gates that are attacked first: so many of those that use most of their windows.
_WORST = 40


@dataclass(frozen=True)
class CheckedPicture:
    """One picture and what became of it.

    Attributes:
        family: its kind.
        pixels: uint8 [channels, height, width].
        difference: largest difference of logits to the float model; 0 where labels alone are revealed.
        label, float_label: positions of the likeliest classes by the reference and by the float model.
        margin: by how much the float model's likeliest logit exceeds the next.
    """

    family: str
    pixels: Pixels
    difference: float
    label: int
    float_label: int
    margin: float


@dataclass
class Checked:
    """The result of a check.

    Attributes:
        edges: of every gate, those that used most of their windows first.
        worst: the pictures with the largest differences, largest first.
        outside: pictures that left a window, in order.
        families: pictures by family.
        disagreeing: pictures whose label is not the float model's although that is not a tie.
    """

    ranges: str
    pictures: int = 0
    edges: list[Edge] = field(default_factory=list)
    worst: list[CheckedPicture] = field(default_factory=list)
    outside: list[CheckedPicture] = field(default_factory=list)
    families: dict[str, int] = field(default_factory=dict)
    disagreeing: int = 0

    @property
    def difference(self) -> float:
        """Largest difference of a logit to the float model."""
        return self.worst[0].difference if self.worst else 0.0

    def passed(self, tolerance: float) -> bool:
        """Return whether every picture kept its ranges and got the float model's label and, within ``tolerance``,
        logits.
        """
        return not self.outside and self.difference <= tolerance and not self.disagreeing

    def save_worst(self, folder: Path) -> None:
        """Write the worst pictures as PNG files, the largest difference first."""
        for number, picture in enumerate(self.worst):
            name = f"{number:03d}-{picture.family.replace(' ', '_')}.png"
            Image.fromarray(picture.pixels.transpose(1, 2, 0)).save(folder / name)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; pictures by family, without their pixels."""
        return {
            "ranges": self.ranges,
            "pictures": self.pictures,
            "families": self.families,
            "outside": len(self.outside),
            "first_outside": self.outside[0].family if self.outside else None,
            "disagreeing_labels": self.disagreeing,
            "largest_logit_difference": self.difference,
            "edges": [{**asdict(edge), "share": edge.share, "left": edge.left} for edge in self.edges],
        }


class Checker:
    """Runs pictures through the reference and through the float model.

    Args:
        model: as it was exported.
        real: the same in real arithmetic.
        tolerance: a label may differ from the float model's where its margin is at most twice this.
        keep: how many of the worst pictures are kept.

    Raises:
        NotRevealed: the model reveals no label.
    """

    def __init__(self, model: ModelFolder, real: FloatModel, tolerance: float, keep: int = 200) -> None:
        model.description.check_ranked("a check")
        self._model, self._real = model, real.double().eval()
        self._normalisation = Normalisation(model.description.mean, model.description.std)
        self._tolerance, self._keep = tolerance, keep
        self._watch = Watch(model.program)
        self._seen: dict[int, Pixels] = {}
        self._result = Checked(model.program.ranges)

    def check(
        self, count: int, attacks: int, photographs: Pixels, seed: int, progress: ReportProgress = lambda *_: None
    ) -> Checked:
        """Return ``count`` pictures of the families, then ``attacks`` attacks on the gates.

        Args:
            photographs: uint8 [count, height, width, channels], at least one.
        """
        shape = photographs.shape[1:]
        for done, batch in _batches(pictures(count, (shape[0], shape[1], shape[2]), photographs, seed)):
            self._run(batch)
            progress("pictures", done, count)
        for first in range(0, attacks, _ATTACKED):
            targets = self._targets(first, min(_ATTACKED, attacks - first), seed)
            ascent = Ascent(self._model.program, self._model.weights)
            label = f"attacks {first + 1} to {first + len(targets)} of {attacks}"
            found = ascent.attack(targets, lambda done, total, label=label: progress(label, done, total))  # type: ignore[misc]
            self._run([(_ATTACK, picture.transpose(1, 2, 0)) for picture in found])
        self._result.edges = self._watch.edges
        return self._result

    def _targets(self, first: int, count: int, seed: int) -> list[Target]:
        """Return the gates in turns, each begun from the picture that went farthest there, or from one of the worst
        others.
        """
        edges = [edge for edge in self._watch.edges if edge.share < 1 or edge.left][:_WORST]
        random = np.random.default_rng([seed, first])
        targets = []
        for number in range(first, first + count):
            edge = edges[number % len(edges)]
            own = self._seen.get(edge.picture)
            again = number >= len(edges) or own is None
            worst = self._result.worst
            start = worst[random.integers(len(worst))].pixels if again and worst else own
            assert start is not None  # noqa: S101 - there is at least one picture
            targets.append(Target(edge, start))
        return targets

    def _run(self, batch: list[tuple[str, Pixels]]) -> None:
        result, watch = self._result, self._watch
        pixels = np.stack([picture.transpose(2, 0, 1) for _, picture in batch])
        watch.first = result.pictures
        codes = run_reference(
            self._model.program, self._model.weights, {_input(self._model): pixels.astype(np.int64)}, observe=watch
        )
        with torch.no_grad():
            real = self._real(self._normalisation.floats(torch.from_numpy(pixels))).numpy()
        for row, (family, _) in enumerate(batch):
            checked = self._compare(family, pixels[row], codes[row], real[row])
            number = result.pictures + row
            result.families[family] = result.families.get(family, 0) + 1
            result.worst.append(checked)
            if number in watch.outside:
                result.outside.append(checked)
            result.disagreeing += checked.label != checked.float_label and checked.margin > 2 * self._tolerance
        result.pictures += len(batch)
        result.worst.sort(key=lambda picture: picture.difference, reverse=True)
        del result.worst[self._keep :]
        wanted = {edge.picture for edge in watch.edges}
        for number in wanted - self._seen.keys():
            self._seen[number] = pixels[number - watch.first]
        self._seen = {number: picture for number, picture in self._seen.items() if number in wanted}

    def _compare(
        self, family: str, pixels: Pixels, codes: npt.NDArray[np.int64], real: npt.NDArray[np.float64]
    ) -> CheckedPicture:
        first, second = np.sort(real)[::-1][:2]
        likeliest, difference = int(codes[0]), 0.0
        if self._model.description.reveal.logits:
            logits = decode(codes, self._model.program.types[self._model.program.output].frac)
            likeliest, difference = int(logits.argmax()), float(np.abs(logits - real).max())
        return CheckedPicture(family, pixels, difference, likeliest, int(real.argmax()), float(first - second))


def _input(model: ModelFolder) -> str:
    (name,) = model.program.inputs
    return name


def _batches(items: Iterator[tuple[str, Pixels]]) -> Iterator[tuple[int, list[tuple[str, Pixels]]]]:
    done, batch = 0, []
    for item in items:
        batch.append(item)
        done += 1
        if len(batch) == _BATCH:
            yield done, batch
            batch = []
    if batch:
        yield done, batch
