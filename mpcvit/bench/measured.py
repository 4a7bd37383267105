"""What was measured of one model, as a file: accuracy by executor, latency by network."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import mpcvit
from mpcvit.bench.accuracy import Executor, evaluate
from mpcvit.bench.latency import measure_latency
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ModelFileError
from mpcvit.link_profile import link_profile
from mpcvit.models.config import AttentionKind
from mpcvit.models.files import CONFIG_FILE
from mpcvit.program.model_folder import ModelFolder

#: Beside a shipped model, its own measurements.
RESULTS_FILE = "results.json"
#: Hexadecimal digits of a Program's digest in names of files.
_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model's measurements.

    Attributes:
        model: its public name.
        program: digest of the Program that was measured.
        heads: how many heads of each kind it has.
        accuracy: by executor, the fields of :class:`~mpcvit.bench.accuracy.Accuracy`.
        latency: by network, the fields of :class:`~mpcvit.bench.latency.Latency`, of the fast engine.
    """

    model: str
    program: str
    heads: dict[str, int]
    accuracy: dict[str, dict[str, Any]] = field(default_factory=dict)
    latency: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def top1(self) -> float | None:
        """Share of right labels in [0, 1], of the executor closest to what clients get; None if none was scored."""
        for executor in (Executor.REFERENCE, Executor.FLOAT):
            if executor in self.accuracy:
                return float(self.accuracy[executor]["top1"])
        return None

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Measured:
        """What :meth:`save` wrote.

        Raises:
            ModelFileError: the file is missing or of another kind.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ModelFileError(
                f"{type(error).__name__} reading {path}",
                expected="measurements written by 'mpcvit report'",
                remedy="Measure again, in another folder.",
            ) from error


def measure(
    folder: Path,
    out: Path,
    *,
    images: ImageSet | None,
    executors: Collection[Executor],
    networks: Collection[str],
    runs: int,
    say: Callable[[str], None] = lambda what: None,
) -> Measured:
    """The measurements of the exported model in ``folder``; what ``out`` has of them already is not repeated.

    Args:
        out: folder of measurements; gets a file named after the model's folder and its Program's digest.
        images: test pictures for ``executors``; None to score nothing.
        networks: names of link profiles; emulated ones need root.
        runs: inferences that are timed on each.
        say: told what is going on.

    Raises:
        ConfigError: a network cannot be emulated here.
        MpcvitError: an inference failed.
    """
    model = ModelFolder.load(folder)
    name, digest = model.description.name, model.program.digest
    path = out / f"{folder.resolve().name}-{digest[:_DIGITS]}.json"
    found = Measured.load(path) if path.exists() else Measured(model=name, program=digest, heads=_heads(folder))
    for executor in executors if images is not None else ():
        assert images is not None  # noqa: S101 - only then is anything scored
        if found.accuracy.get(executor, {}).get("n") != len(images):
            say(f"{name}: {executor} on {len(images):,} pictures")
            result = asdict(evaluate(folder, images, executor))
            found = replace(found, accuracy={**found.accuracy, executor.value: result})
            found.save(path)
    for network in networks:
        if network not in found.latency:
            say(f"{name}: {runs} inferences on {network}")
            result = asdict(measure_latency(folder, "fast", link_profile(network), runs))
            found = replace(found, latency={**found.latency, network: result})
            found.save(path)
    return found


def write_files(folder: Path, name: str, models: Sequence[Measured], picture: bytes, page: str) -> None:
    """Write a report on ``models`` into ``folder``: NAME.json, NAME.png and NAME.html."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"version": mpcvit.__version__, "models": [asdict(model) for model in models]}
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / f"{name}.png").write_bytes(picture)
    (folder / f"{name}.html").write_text(page)


def _heads(folder: Path) -> dict[str, int]:
    """How many heads of each kind the trained model in ``folder`` has."""
    kinds = [kind for block in json.loads((folder / CONFIG_FILE).read_text())["heads"] for kind in block]
    return {kind.value: kinds.count(kind) for kind in AttentionKind if kind in kinds}
