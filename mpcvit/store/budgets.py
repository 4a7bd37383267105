"""A model's other Programs on disk, a folder each below ``budgets``.

``program.json``, and ``views.json``, which says which slices of the whole model's tensors its parameters are. What is
not a slice of anything lies in ``weights.safetensors`` of an exported model, and among all others in a share, as
``BUDGET/NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mpcvit.errors import ModelFileError
from mpcvit.program.files import WEIGHTS_FILE, load_program, read_tensors, save_program
from mpcvit.program.program import Program
from mpcvit.program.reference import Weights, check_weights
from mpcvit.program.views import VIEWS_FILE, View, parse_views, read_views, save_views
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.budget import FULL, is_budget

BUDGETS_FOLDER = "budgets"


@dataclass(frozen=True, repr=False)
class BudgetProgram:
    """One more Program of a model.

    Attributes:
        views: by parameter, the slice of the whole model's tensors that it is.
        own: its other parameters.
    """

    program: Program
    views: Mapping[str, View]
    own: Weights

    def weights(self, whole: Weights, path: Path = Path(VIEWS_FILE)) -> dict[str, Codes]:
        """Return all its parameters, from those of the whole model.

        Raises:
            ModelFileError, ShapeMismatch: they do not fit.
        """
        weights = {**read_views(self.views, whole, path), **self.own}
        check_weights(self.program, weights)
        return weights

    def save(self, folder: Path) -> None:
        """Write the Program's files into ``folder``, weights included."""
        self.save_public(folder)
        save_file({name: np.ascontiguousarray(codes) for name, codes in self.own.items()}, folder / WEIGHTS_FILE)

    def save_public(self, folder: Path) -> None:
        """Write what everybody may know into ``folder``."""
        save_program(self.program, folder)
        save_views(self.views, folder / VIEWS_FILE)

    @classmethod
    def load(cls, folder: Path) -> BudgetProgram:
        """Return what :meth:`save` wrote.

        Raises:
            ModelFileError: a file is missing or damaged.
        """
        own = {name: codes.astype(np.int64) for name, codes in read_tensors(folder / WEIGHTS_FILE).items()}
        return cls(load_program(folder), parse_views(read_file(folder / VIEWS_FILE), folder / VIEWS_FILE), own)


def stored_name(budget: str, parameter: str) -> str:
    """Return the name under which a share holds a parameter that is no slice."""
    return f"{budget}/{parameter}"


def budget_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of a model's other Programs, by budget.

    Raises:
        ModelFileError: one has a name that no budget has.
    """
    below = folder / BUDGETS_FOLDER
    found = {path.name: path for path in sorted(below.iterdir())} if below.is_dir() else {}
    if wrong := [name for name in found if not is_budget(name)]:
        raise ModelFileError(
            f"{', '.join(wrong)} in {below}",
            expected="a folder per budget, and nothing else",
            remedy="Copy the whole folder again; its files belong together.",
        )
    return found


def load_programs(folder: Path) -> dict[str, Program]:
    """Return all Programs of the model in ``folder``, exported or shared, by budget, the whole model's first.

    Raises:
        ModelFileError: a file is missing or damaged.
    """
    others = {budget: load_program(path) for budget, path in budget_folders(folder).items()}
    return {FULL: load_program(folder), **others}


def read_file(path: Path) -> bytes:
    """Return what is in ``path``.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {path}",
            expected="a folder written by 'mpcvit model export' or 'mpcvit model share'",
            remedy="Copy the whole folder again; its files belong together.",
        ) from error
