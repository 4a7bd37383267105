"""Budgets: the names under which a model offers several Programs of one set of shares, and what each costs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mpcvit.errors import ConfigError

#: The budget of the whole model, which clients get if they name none.
FULL = "full"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, kw_only=True)
class BudgetCost:
    """One of a model's Programs, in a manifest.

    Attributes:
        budget: its name.
        program_sha256: digest of the Program, 64 hex digits.
        rounds: of one inference: on the fast engine with the objective ``wan`` for two parties, else on the stock one.
        bytes_sent: by party 0, in one inference.
        material_bytes: from the dealer to the last party, for one inference.
    """

    budget: str
    program_sha256: str
    rounds: int
    bytes_sent: int
    material_bytes: int


def is_budget(name: str) -> bool:
    """Return whether a Program can have this name beside the whole model's."""
    return name != FULL and _NAME.fullmatch(name) is not None


def require_budget(name: str) -> str:
    """Return ``name``.

    Raises:
        ConfigError: no Program beside the whole model's can have it.
    """
    if is_budget(name):
        return name
    raise ConfigError(
        f"a budget named '{name}'",
        expected=f"up to 32 lower-case letters, digits and hyphens, a letter first, and not '{FULL}'",
        remedy="Choose another name, such as 'fast'.",
    )
