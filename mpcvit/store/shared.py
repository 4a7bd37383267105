"""Secret-shared models on disk: what the owner of a model gives to each party.

A share folder holds ``manifest.json`` and ``program.json``, which are public and the same for all parties, and
``share.safetensors``: a 32-byte seed for all parties but the last, masked codes for the last. If the owner signed it,
there is ``manifest.sig``: the Ed25519 signature of the bytes of ``manifest.json``.

The manifest names the SHA-256 of the program's file and of every party's share file, so a damaged file is refused: on
shares nobody would see that an answer is wrong. A share file has 32 random bytes of its own, its salt. Without it,
whoever knows all seeds could compute the digest that the last share would have for weights that it guesses.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save

from mpcvit.errors import ConfigError, ModelFileError, ProgramMismatch
from mpcvit.program.files import PROGRAM_FILE, parse_program, parse_tensors, save_program
from mpcvit.program.program import Program
from mpcvit.program.reference import check_weights
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import mask, split
from mpcvit.store.exported import ModelFolder
from mpcvit.store.out_folder import written
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import Owners

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"
SHARE_FILE = "share.safetensors"
_SEED = "seed"
_SALT = "salt"
_SALT_BYTES = 32


@dataclass(frozen=True, repr=False)
class ModelShare:
    """One party's share of a model, in memory.

    Attributes:
        weights: this party's share of every parameter, int64.
        signature: the owner's signature of the manifest; empty if there is none.
        owner: fingerprint of the owner who signed it; None if no owner was asked for.
    """

    manifest: Manifest
    program: Program
    index: int
    weights: dict[str, Codes]
    signature: bytes = b""
    owner: str | None = None


def share_model(
    model: ModelFolder, parties: int, folder: Path, *, key: Ed25519PrivateKey | None = None, replace: bool = False
) -> tuple[Manifest, list[Path]]:
    """Split ``model`` with fresh randomness of the operating system into ``folder/party<i>``; manifest and folders.

    Args:
        parties: number of compute parties, at least 2.
        folder: made if missing. It gets all share folders or none.
        key: signs the manifest, if given.
        replace: put them in the place of the share folders that are there, of however many parties.

    Raises:
        ConfigError: there are share folders already, or the folder cannot be written to.
    """
    old = tuple(sorted(path.name for path in folder.glob("party[0-9]*")))
    if old and not replace:
        raise ConfigError(
            f"{folder}, which holds {', '.join(old)}",
            expected="a folder without shares",
            remedy="Choose another folder, or ask for new shares in the place of those.",
        )
    names = [f"party{index}" for index in range(parties)]
    with written(folder, stale=old) as fresh:
        manifest = _write(model, [fresh / name for name in names], key)
    return manifest, [folder / name for name in names]


def load_share(folder: Path, index: int, owners: Owners) -> ModelShare:
    """Return party ``index``'s share in ``folder``.

    Args:
        owners: one of them must have signed the manifest.

    Raises:
        NotSigned: none of them has.
        ModelFileError: a file is missing or damaged, or the share is another party's.
        ProgramMismatch: the program is not the manifest's.
        ShapeMismatch: the share does not fit the program.
    """
    manifest = Manifest.parse(_read(folder / MANIFEST_FILE))
    signature = _read(folder / SIGNATURE_FILE) if (folder / SIGNATURE_FILE).exists() else b""
    owner = owners.check(manifest, signature, f"in {folder}")
    program = _load_program(folder / PROGRAM_FILE, manifest)
    path = folder / SHARE_FILE
    raw = _read(path)
    _check_share(path, hashlib.sha256(raw).hexdigest(), manifest, index)
    weights: dict[str, Codes] = parse_tensors(raw, path)
    if index < manifest.parties - 1:
        prg = Prg(_seed(path, weights))
        weights = {name: mask(prg, kind.shape, manifest.share_set, name) for name, kind in program.parameters.items()}
    check_weights(program, weights)
    return ModelShare(manifest, program, index, weights, signature, owner)


def _write(model: ModelFolder, folders: list[Path], key: Ed25519PrivateKey | None) -> Manifest:
    share_set = secrets.token_hex(16)
    shares = []
    for folder, tensors in zip(folders, _split(model, len(folders), share_set), strict=True):
        save_program(model.program, folder)
        share = save(tensors, metadata={_SALT: secrets.token_hex(_SALT_BYTES)})
        path = folder / SHARE_FILE
        path.touch(mode=0o600)  # before there is anything in it
        path.write_bytes(share)
        shares.append(hashlib.sha256(share).hexdigest())
    program_file = hashlib.sha256((folders[0] / PROGRAM_FILE).read_bytes()).hexdigest()
    manifest = model.manifest(share_set, program_file, tuple(shares))
    for folder in folders:
        (folder / MANIFEST_FILE).write_bytes(manifest.canonical())
        if key is not None:
            (folder / SIGNATURE_FILE).write_bytes(key.sign(manifest.canonical()))
    return manifest


def _split(model: ModelFolder, parties: int, share_set: str) -> list[dict[str, npt.NDArray[Any]]]:
    """Return what each party's share file holds: a seed, or the masked codes for the last."""
    seeds = [secrets.token_bytes(SEED_BYTES) for _ in range(parties - 1)]
    prgs = [Prg(seed) for seed in seeds]
    last = {name: split(codes, prgs, share_set, name) for name, codes in model.weights.items()}
    return [*({_SEED: np.frombuffer(seed, dtype=np.uint8)} for seed in seeds), last]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {path}",
            expected="a folder written by 'mpcvit model share'",
            remedy="Correct 'models' in the configuration.",
        ) from error


def _load_program(path: Path, manifest: Manifest) -> Program:
    raw = _read(path)
    found = hashlib.sha256(raw).hexdigest()
    if found != manifest.program_file_sha256:
        raise ProgramMismatch(
            f"{path} with SHA-256 {found[:16]}..",
            expected=f"{manifest.program_file_sha256[:16]}.. as the manifest says",
            remedy="Copy the whole folder again; its files belong together.",
        )
    program = parse_program(raw, path)
    if program.digest != manifest.program_sha256:
        raise ProgramMismatch(
            f"a program with digest {program.digest[:16]}.. in {path}",
            expected=f"{manifest.program_sha256[:16]}.. as the manifest says",
            remedy="Share the model again with this version of mpcvit.",
        )
    return program


def _check_share(path: Path, found: str, manifest: Manifest, index: int) -> None:
    if not 0 <= index < manifest.parties or (found in manifest.share_sha256 and found != manifest.share_sha256[index]):
        raise ModelFileError(
            f"another party's share in {path}",
            expected=f"the share of party {index} of {manifest.parties}",
            remedy=f"Give this party the folder 'party{index}' of 'mpcvit model share'.",
        )
    if found != manifest.share_sha256[index]:
        raise ModelFileError(
            f"{path}, which is damaged: its SHA-256 is {found[:16]}..",
            expected=f"{manifest.share_sha256[index][:16]}.. as the manifest says",
            remedy="Copy the whole folder again from the model's owner; its files belong together.",
        )


def _seed(path: Path, tensors: dict[str, Codes]) -> bytes:
    seed = tensors[_SEED].tobytes() if set(tensors) == {_SEED} else b""
    if len(seed) != SEED_BYTES:
        raise ModelFileError(
            f"a share without a seed in {path}",
            expected=f"a seed of {SEED_BYTES} bytes",
            remedy="Ask the model's owner to share the model again.",
        )
    return seed
