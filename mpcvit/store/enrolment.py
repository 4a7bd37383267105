"""The reference of a model that matches: whose embedding the parties compare with, as shares like the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError
from mpcvit.ring.fixed_point import encode
from mpcvit.store.exported import ModelFolder
from mpcvit.wire.reveal import RevealKind

#: The Program's parameter that holds it.
REFERENCE = "match.reference"


def enrolled(model: ModelFolder, reference: npt.NDArray[np.float64]) -> ModelFolder:
    """Return the model with a reference to match with; Program and description stay the same.

    Args:
        reference: an embedding by the same network, of any length but 0: float [D].

    Raises:
        InputError: the model does not match, or ``reference`` is no embedding of its.
    """
    threshold = model.description.reveal.threshold
    if model.description.reveal.kind is not RevealKind.MATCH or threshold is None:
        raise InputError(
            f"a reference for a model that reveals {model.description.reveal}",
            expected="a model exported with --reveal match",
            remedy="Leave the reference out, or export the model again.",
        )
    kind = model.program.parameters[REFERENCE]
    length = float(np.linalg.norm(reference)) if np.isfinite(reference).all() else 0.0
    if reference.shape != kind.shape[:1] or not length:
        raise InputError(
            f"a reference of shape {list(reference.shape)}" + ("" if length else " that is zero or not finite"),
            expected=f"{kind.shape[0]} numbers, not all of them 0",
            remedy="Take a vector of the same network, exported with --reveal vector.",
        )
    codes = encode(reference[:, None] / (length * threshold), kind.qtype)
    return replace(model, weights={**model.weights, REFERENCE: codes})


def read_reference(path: Path) -> npt.NDArray[np.float64]:
    """Return the vector in an ``.npy`` file, as 'mpcvit infer --save' writes it.

    Raises:
        InputError: the file cannot be read, or holds no real numbers.
    """
    try:
        values = np.load(path, allow_pickle=False)
        return np.asarray(values).astype(np.float64, casting="safe")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(
            f"{type(error).__name__} reading {path}",
            expected="an .npy file of floats",
            remedy="Save a vector with 'mpcvit infer --save NAME.npy'.",
        ) from error
