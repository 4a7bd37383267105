"""What was measured of one model, as a file: accuracy by executor, latency by network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ModelFileError
from mpcvit.link_profile import link_profile
from mpcvit.measure.accuracy import Executor, evaluate
from mpcvit.measure.latency import Latency, joined, measure_latency
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.program.files import PROGRAM_FILE, WEIGHTS_FILE
from mpcvit.store.exported import DESCRIPTION_FILE, ModelFolder
from mpcvit.store.quantized import QUANTIZE_FILE, QUANTIZED_FOLDER, is_quantized
from mpcvit.store.trained import CONFIG_FILE, FLOAT_FILE, read_architecture
from mpcvit.store.whole_file import write_whole

#: Beside a shipped model, its own measurements.
RESULTS_FILE = "results.json"
#: Hexadecimal digits of a digest in names of files.
_DIGITS = 12
#: What executors read of a model's folder.
_MODEL_FILES = (
    *(Path(name) for name in (DESCRIPTION_FILE, CONFIG_FILE, FLOAT_FILE, PROGRAM_FILE, WEIGHTS_FILE)),
    *(Path(QUANTIZED_FOLDER, name) for name in (CONFIG_FILE, FLOAT_FILE, QUANTIZE_FILE)),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model's measurements.

    Attributes:
        model: its public name.
        program: digest of the Program that was measured.
        heads: how many heads of each kind it has.
        accuracy: by executor, the fields of :class:`~mpcvit.measure.accuracy.Accuracy`, and ``scored``, the digest of
            the model's files and the pictures; shipped measurements, and those of earlier versions, have none.
        latency: by network, the fields of :class:`~mpcvit.measure.latency.Latency`, of the fast engine.
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
        write_whole(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Return what :meth:`save` wrote.

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


def score(
    folder: Path,
    out: Path,
    images: ImageSet,
    executors: Collection[Executor],
    say: Callable[[str], None] = lambda what: None,
) -> Measured:
    """Return the accuracy of the exported model in ``folder``; what ``out`` has of it already is not repeated.

    That is: scores of the same files on the same pictures, and single answers of a secure run that was broken off.

    Args:
        out: folder of measurements; gets a file named after the model's folder and its Program's digest.
        images: test pictures for ``executors``.
        say: told what is going on.

    Raises:
        MpcvitError: an inference failed.
    """
    path, found = _found(folder, out)
    scored = _scored(folder, images)
    kept = path.with_name(f"{path.stem}-{Executor.SECURE}-{scored[:_DIGITS]}.jsonl")
    out.mkdir(parents=True, exist_ok=True)
    for executor in executors:
        if found.accuracy.get(executor, {}).get("scored") != scored:
            say(f"{found.model}: {executor} on {len(images):,} pictures")
            result = {**asdict(evaluate(folder, images, executor, kept=kept)), "scored": scored}
            found = replace(found, accuracy={**found.accuracy, executor.value: result})
            found.save(path)
            if executor == Executor.SECURE:
                kept.unlink(missing_ok=True)
    return found


def score_all(
    folders: Sequence[Path],
    out: Path,
    images: Sequence[ImageSet],
    secure: int,
    say: Callable[[str], None] = lambda what: None,
    scored: Callable[[Sequence[Measured]], None] = lambda so_far: None,
) -> list[Measured]:
    """Score models in float, quantized if they are, in the reference, and on shares.

    Args:
        folders, out, say: as for :func:`score`.
        images: test pictures, of each model.
        secure: how many of them are scored on shares; 0 for none.
        scored: called after every model with all that were scored.

    Raises:
        MpcvitError: an inference failed.
    """
    measured: list[Measured] = []
    for folder, found in zip(folders, images, strict=True):
        quantized = (Executor.QUANTIZED,) if is_quantized(folder) else ()
        one = score(folder, out, found, (Executor.FLOAT, *quantized, Executor.REFERENCE), say)
        if secure:
            one = score(folder, out, found.spread(secure), (Executor.SECURE,), say)
        measured.append(one)
        scored(measured)
    return measured


def time_in_turns(
    folders: Sequence[Path],
    out: Path,
    networks: Collection[str],
    *,
    turns: int,
    runs: int,
    say: Callable[[str], None] = lambda what: None,
) -> list[Measured]:
    """Return the latency of exported models, turn by turn, so that slow minutes of the machine hit all of them.

    What ``out`` has already, of an interrupted measurement or of fewer turns, is added to.

    Args:
        folders, out: as for :func:`score`.
        networks: names of link profiles; emulated ones need root.
        turns: how often every model is timed on every network.
        runs: inferences in each turn.
        say: told what is going on.

    Raises:
        ConfigError: a network cannot be emulated here.
        MpcvitError: an inference failed.
    """
    for network in networks:
        profile = link_profile(network)
        for turn in range(turns):
            for folder in folders:
                path, found = _found(folder, out)
                before = found.latency.get(network)
                if before is not None and before["runs"] >= (turn + 1) * runs:
                    continue
                say(f"{network}, turn {turn + 1} of {turns}: {runs} inferences with {found.model}")
                latency = measure_latency(folder, "fast", profile, runs)
                if before is not None:
                    latency = joined([Latency(**before), latency])
                replace(found, latency={**found.latency, network: asdict(latency)}).save(path)
    return [_found(folder, out)[1] for folder in folders]


def _found(folder: Path, out: Path) -> tuple[Path, Measured]:
    """Return the file in ``out`` of the exported model in ``folder``, and what it holds; nothing if there is none."""
    model = ModelFolder.load(folder)
    name, digest = model.description.name, model.program.digest
    path = out / f"{folder.resolve().name}-{digest[:_DIGITS]}.json"
    found = Measured.load(path) if path.exists() else Measured(model=name, program=digest, heads=_heads(folder))
    return path, found


def _scored(folder: Path, images: ImageSet) -> str:
    """Return SHA-256 of all that scores depend on: the model's files, where there are such, the pictures and their
    labels.
    """
    digest = hashlib.sha256()
    for name in _MODEL_FILES:
        file = folder / name
        content = file.read_bytes() if file.exists() else b""
        digest.update(hashlib.sha256(content).digest())
    for array in (images.images, images.labels):
        digest.update(str(array.shape).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _heads(folder: Path) -> dict[str, int]:
    """Return how many heads of each kind the trained model in ``folder`` has."""
    config = read_architecture(folder)
    kinds = [kind for block in config.blocks for kind in block.heads] if isinstance(config, ViTConfig) else []
    return {kind.value: kinds.count(kind) for kind in AttentionKind if kind in kinds}
