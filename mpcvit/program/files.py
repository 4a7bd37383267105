"""Programs and their weights on disk: ``program.json`` beside ``weights.safetensors``. No pickle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save_file

from mpcvit.errors import ModelFileError
from mpcvit.program.program import Program
from mpcvit.program.reference import Weights, check_weights
from mpcvit.ring.fixed_point import Codes

PROGRAM_FILE = "program.json"
WEIGHTS_FILE = "weights.safetensors"
_WIDTHS = (np.int8, np.int16, np.int32, np.int64)


def save_program(program: Program, folder: Path) -> None:
    """Write ``folder/program.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRAM_FILE).write_text(json.dumps(program.to_json(), indent=1) + "\n")


def load_program(folder: Path) -> Program:
    """Return the Program in ``folder``.

    Raises:
        ModelFileError: the file is missing, damaged or of another version.
    """
    path = folder / PROGRAM_FILE
    try:
        return parse_program(path.read_bytes(), path)
    except OSError as error:
        raise _no_program(path, error) from error


def parse_program(raw: bytes, path: Path) -> Program:
    """Return the Program that was read from ``path``.

    Raises:
        ModelFileError: it is damaged or of another version.
    """
    try:
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise TypeError("no object")
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_program(path, error) from error
    return Program.from_json(document)


def save_weights(program: Program, weights: Weights, folder: Path) -> None:
    """Write ``folder/weights.safetensors``, each tensor in the narrowest integer type that holds it."""
    check_weights(program, weights)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: _narrow(codes) for name, codes in weights.items()}, folder / WEIGHTS_FILE)


def load_weights(program: Program, folder: Path) -> dict[str, Codes]:
    """Return the int64 codes of every parameter of ``program``.

    Raises:
        ModelFileError: the file is missing or damaged.
        ShapeMismatch: it does not belong to this Program.
    """
    weights = {name: codes.astype(np.int64) for name, codes in read_tensors(folder / WEIGHTS_FILE).items()}
    check_weights(program, weights)
    return weights


def read_tensors(path: Path) -> dict[str, Codes]:
    """Return all tensors of a safetensors file.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    try:
        tensors: dict[str, Codes] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error
    return tensors


def parse_tensors(raw: bytes, path: Path) -> dict[str, Codes]:
    """Return all tensors of a safetensors file that was read from ``path``.

    Raises:
        ModelFileError: it is damaged.
    """
    try:
        tensors: dict[str, Codes] = load(raw)
    except SafetensorError as error:
        raise _no_tensors(path, error) from error
    return tensors


def _no_program(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{type(error).__name__} reading {path}",
        expected="a Program in JSON",
        remedy="Write one with 'mpcvit model export'.",
    )


def _no_tensors(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{type(error).__name__} reading {path}",
        expected="a safetensors file",
        remedy="Write it again with 'mpcvit model export' or 'mpcvit model share'.",
    )


def _narrow(codes: Codes) -> np.ndarray:
    fitting = next(kind for kind in _WIDTHS if np.array_equal(codes.astype(kind), codes))
    return np.ascontiguousarray(codes.astype(fitting))
