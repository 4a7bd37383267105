"""Secret-shared models on disk: what the owner of a model gives to each party.

A share folder holds ``manifest.json`` and ``program.json``, which are public and the same for all parties, and
``share.safetensors``: a 32-byte seed for all parties but the last, masked codes for the last. If the owner signed it,
there is ``manifest.sig``: the Ed25519 signature of the bytes of ``manifest.json``. If the model has other Programs on
the same weights, there is a folder with a Program, its views, a manifest and a signature for each below ``budgets``,
but no other shares: all that is stored is shared once.

The manifest names the SHA-256 of the program's file and of every party's share file, so a damaged file is refused: on
shares nobody would see that an answer is wrong. A share file has 32 random bytes of its own, its salt. Without it,
whoever knows all seeds could compute the digest that the last share would have for weights that it guesses.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save

from mpcvit.errors import BudgetUnknown, ConfigError, ModelFileError, ProgramMismatch
from mpcvit.program.files import PROGRAM_FILE, parse_program, parse_tensors, save_program
from mpcvit.program.program import Program
from mpcvit.program.reference import check_weights
from mpcvit.program.views import VIEWS_FILE, View, parse_views
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import mask, split
from mpcvit.store.budgets import BUDGETS_FOLDER, BudgetProgram, budget_folders, stored_name
from mpcvit.store.exported import ModelFolder
from mpcvit.store.out_folder import written
from mpcvit.store.program_costs import program_costs
from mpcvit.wire.budget import FULL
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
    """One party's share of a model, in memory, as one of the model's Programs reads it.

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
    """Split ``model`` with fresh randomness of the operating system into ``folder/party<i>``.

    Returns the manifest of the whole model's Program, and the folders.

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


def load_share(folder: Path, index: int, owners: Owners, budget: str = FULL) -> ModelShare:
    """Return party ``index``'s share in ``folder``, as one of the model's Programs reads it.

    Raises:
        BudgetUnknown: the model has no such Program.
        MpcvitError: of :func:`load_shares`.
    """
    shares = {share.manifest.budget: share for share in load_shares(folder, index, owners)}
    if budget not in shares:
        raise BudgetUnknown.of(shares[FULL].manifest.name, budget, shares)
    return shares[budget]


def load_shares(folder: Path, index: int, owners: Owners) -> list[ModelShare]:
    """Return party ``index``'s share in ``folder``, once for each of the model's Programs, the whole model's first.

    Args:
        owners: one of them must have signed the manifests.

    Raises:
        NotSigned: none of them has.
        ModelFileError: a file is missing or damaged, the share is another party's, or Programs are not of one model.
        ProgramMismatch: a program is not its manifest's.
        ShapeMismatch: the share does not fit the program.
    """
    whole = _load_public(folder, owners)
    budgets = {budget: _load_budget(path, whole, owners) for budget, path in budget_folders(folder).items()}
    _check_complete(folder, whole, budgets)
    path = folder / SHARE_FILE
    raw = _read(path)
    _check_share(path, hashlib.sha256(raw).hexdigest(), whole.manifest, index)
    stored = _stored(path, parse_tensors(raw, path), whole, budgets, index)
    weights = {name: stored.pop(name) for name in whole.program.parameters if name in stored}
    check_weights(whole.program, weights)
    shares = [ModelShare(whole.manifest, whole.program, index, weights, whole.signature, whole.owner)]
    for budget, (public, views) in budgets.items():
        names = [name for name in public.program.parameters if name not in views]
        own = {name: stored[key] for name in names if (key := stored_name(budget, name)) in stored}
        part = BudgetProgram(public.program, views, own).weights(weights, folder / BUDGETS_FOLDER / budget)
        shares.append(ModelShare(public.manifest, public.program, index, part, public.signature, public.owner))
    return shares


def budget_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the manifests of a shared model's other Programs, 64 hex digits, by budget.

    Raises:
        ModelFileError: a manifest is missing or damaged.
    """
    found = {budget: Manifest.parse(_read(path / MANIFEST_FILE)) for budget, path in budget_folders(folder).items()}
    return {budget: manifest.digest.hex() for budget, manifest in found.items()}


@dataclass(frozen=True)
class _Public:
    """What a share folder says of a Program to everybody."""

    manifest: Manifest
    program: Program
    signature: bytes
    owner: str | None


def _load_public(folder: Path, owners: Owners) -> _Public:
    manifest = Manifest.parse(_read(folder / MANIFEST_FILE))
    signature = _read(folder / SIGNATURE_FILE) if (folder / SIGNATURE_FILE).exists() else b""
    owner = owners.check(manifest, signature, f"in {folder}")
    return _Public(manifest, _load_program(folder / PROGRAM_FILE, manifest), signature, owner)


def _load_budget(folder: Path, whole: _Public, owners: Owners) -> tuple[_Public, dict[str, View]]:
    """Return another Program of a model, and its views."""
    public, path = _load_public(folder, owners), folder / VIEWS_FILE
    manifest, raw = public.manifest, _read(path)
    if manifest.budget != folder.name or manifest.whole(whole.manifest) != whole.manifest:
        raise ModelFileError(
            f"a manifest of '{manifest.key}' in {folder}",
            expected=f"budget '{folder.name}' of '{whole.manifest.key}', of the same 'mpcvit model share' run",
            remedy="Copy the whole folder again; its files belong together.",
        )
    if hashlib.sha256(raw).hexdigest() != manifest.views_sha256:
        raise ModelFileError(
            f"{path}, which is damaged",
            expected=f"SHA-256 {manifest.views_sha256[:16]}.. as the manifest says",
            remedy="Copy the whole folder again from the model's owner; its files belong together.",
        )
    return public, parse_views(raw, path)


def _check_complete(folder: Path, whole: _Public, budgets: Mapping[str, tuple[_Public, dict[str, View]]]) -> None:
    """Raise ModelFileError unless every Program that a manifest names is there."""
    found = {
        FULL: whole.manifest.program_sha256,
        **{name: one.manifest.program_sha256 for name, (one, _) in budgets.items()},
    }
    for public, _ in budgets.values():
        named = {program.budget: program.program_sha256 for program in public.manifest.programs}
        if named != found:
            raise ModelFileError(
                f"{folder} with budgets {', '.join(found)}",
                expected=f"{', '.join(named)}, as the manifest of '{public.manifest.key}' says",
                remedy="Copy the whole folder again; its files belong together.",
            )


def _stored(
    path: Path,
    tensors: dict[str, Codes],
    whole: _Public,
    budgets: Mapping[str, tuple[_Public, dict[str, View]]],
    index: int,
) -> dict[str, Codes]:
    """Return this party's share of all that is stored, by name."""
    if index == whole.manifest.parties - 1:
        return dict(tensors)
    shapes = {name: kind.shape for name, kind in whole.program.parameters.items()}
    for budget, (public, views) in budgets.items():
        kinds = public.program.parameters.items()
        shapes |= {stored_name(budget, name): kind.shape for name, kind in kinds if name not in views}
    prg = Prg(_seed(path, tensors))
    return {name: mask(prg, shape, whole.manifest.share_set, name) for name, shape in shapes.items()}


def _write(model: ModelFolder, folders: list[Path], key: Ed25519PrivateKey | None) -> Manifest:
    share_set = secrets.token_hex(16)
    shares = []
    for folder, tensors in zip(folders, _split(model, len(folders), share_set), strict=True):
        save_program(model.program, folder)
        for name, budget in model.budgets.items():
            budget.save_public(folder / BUDGETS_FOLDER / name)
        share = save(tensors, metadata={_SALT: secrets.token_hex(_SALT_BYTES)})
        path = folder / SHARE_FILE
        path.touch(mode=0o600)  # before there is anything in it
        path.write_bytes(share)
        shares.append(hashlib.sha256(share).hexdigest())
    manifest = model.manifest(share_set, _digest(folders[0] / PROGRAM_FILE), tuple(shares))
    _sign(manifest, folders, key)
    costs = program_costs(model.programs, len(folders)) if model.budgets else ()
    for name in model.budgets:
        places = [folder / BUDGETS_FOLDER / name for folder in folders]
        own = model.at(name).manifest(share_set, _digest(places[0] / PROGRAM_FILE), tuple(shares))
        views = _digest(places[0] / VIEWS_FILE)
        _sign(replace(own, budget=name, views_sha256=views, programs=costs), places, key)
    return manifest


def _sign(manifest: Manifest, folders: list[Path], key: Ed25519PrivateKey | None) -> None:
    """Write a manifest into every folder, and its signature if there is a key."""
    for folder in folders:
        (folder / MANIFEST_FILE).write_bytes(manifest.canonical())
        if key is not None:
            (folder / SIGNATURE_FILE).write_bytes(key.sign(manifest.canonical()))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _split(model: ModelFolder, parties: int, share_set: str) -> list[dict[str, npt.NDArray[Any]]]:
    """Return what each party's share file holds: a seed, or the masked codes for the last.

    What several Programs read is split once.
    """
    seeds = [secrets.token_bytes(SEED_BYTES) for _ in range(parties - 1)]
    prgs = [Prg(seed) for seed in seeds]
    stored = dict(model.weights)
    for budget, program in model.budgets.items():
        stored |= {stored_name(budget, name): codes for name, codes in program.own.items()}
    last = {name: split(codes, prgs, share_set, name) for name, codes in stored.items()}
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
