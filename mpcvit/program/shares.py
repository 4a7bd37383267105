"""Secret-shared models on disk: what the owner of a model gives to each party.

A share folder holds ``manifest.json`` and ``program.json``, which are public and the same for all parties, and
``share.safetensors``: a 32-byte seed for all parties but the last, masked codes for the last.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from mpcvit.errors import ModelFileError, ProgramMismatch
from mpcvit.program.files import load_program, read_tensors, save_program
from mpcvit.program.model_folder import ModelFolder
from mpcvit.program.program import Program
from mpcvit.program.reference import check_weights
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import mask, split
from mpcvit.wire.manifest import Manifest

MANIFEST_FILE = "manifest.json"
SHARE_FILE = "share.safetensors"
_SEED = "seed"


@dataclass(frozen=True, repr=False)
class ModelShare:
    """One party's share of a model, in memory.

    Attributes:
        weights: this party's share of every parameter, int64.
    """

    manifest: Manifest
    program: Program
    index: int
    weights: dict[str, Codes]


def share_model(model: ModelFolder, parties: int, folder: Path) -> tuple[Manifest, list[Path]]:
    """Split ``model`` with fresh randomness of the operating system into ``folder/party<i>``; manifest and folders."""
    manifest = model.manifest(parties, secrets.token_hex(16))
    seeds = [secrets.token_bytes(SEED_BYTES) for _ in range(parties - 1)]
    label = manifest.share_set
    prgs = [Prg(seed) for seed in seeds]
    last = {name: split(codes, prgs, label, name) for name, codes in model.weights.items()}
    contents: list[dict[str, npt.NDArray[Any]]] = [{_SEED: np.frombuffer(seed, dtype=np.uint8)} for seed in seeds]
    contents.append(dict(last))
    targets = [folder / f"party{index}" for index in range(parties)]
    for target, tensors in zip(targets, contents, strict=True):
        save_program(model.program, target)
        (target / MANIFEST_FILE).write_bytes(manifest.canonical())
        path = target / SHARE_FILE
        path.touch(mode=0o600)  # before there is anything in it
        path.write_bytes(save(tensors))
    return manifest, targets


def load_share(folder: Path, index: int) -> ModelShare:
    """Party ``index``'s share in ``folder``.

    Raises:
        ModelFileError: a file is missing or damaged, or the share is another party's.
        ProgramMismatch: the program is not the manifest's.
        ShapeMismatch: the share does not fit the program.
    """
    try:
        manifest = Manifest.parse((folder / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {folder / MANIFEST_FILE}",
            expected="a folder written by 'mpcvit model share'",
            remedy="Correct 'models' in the configuration.",
        ) from error
    program = load_program(folder)
    if program.digest != manifest.program_sha256:
        raise ProgramMismatch(
            f"a program with digest {program.digest[:16]}.. in {folder}",
            expected=f"{manifest.program_sha256[:16]}.. as the manifest says",
            remedy="Copy the whole folder again; its files belong together.",
        )
    tensors = read_tensors(folder / SHARE_FILE)
    seeded = set(tensors) == {_SEED}
    if seeded == (index == manifest.parties - 1) or not 0 <= index < manifest.parties:
        raise ModelFileError(
            f"another party's share in {folder}",
            expected=f"the share of party {index} of {manifest.parties}",
            remedy=f"Give this party the folder 'party{index}' of 'mpcvit model share'.",
        )
    weights: dict[str, Codes] = tensors
    if seeded:
        prg = Prg(tensors[_SEED].tobytes())
        weights = {name: mask(prg, kind.shape, manifest.share_set, name) for name, kind in program.parameters.items()}
    check_weights(program, weights)
    return ModelShare(manifest, program, index, weights)
