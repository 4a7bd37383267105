"""``--budget NAME=PART:COUNT,..``: one more Program on a model's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpcvit.errors import ConfigError
from mpcvit.wire.budget import require_budget

if TYPE_CHECKING:
    from mpcvit.models.prefix import Prefix


def parse_budgets(texts: Sequence[str]) -> dict[str, Prefix]:
    """Return what is left of the model, by budget.

    Raises:
        ConfigError: another form, a name that no budget can have, or one twice.
    """
    from mpcvit.models.prefix import Prefix

    found: dict[str, Prefix] = {}
    for text in texts:
        name, equals, parts = text.partition("=")
        if not equals or name in found:
            raise ConfigError(
                f"--budget {text}",
                expected="NAME=PART:COUNT,.., each name once",
                remedy="Write, for example, --budget fast=depth:4.",
            )
        found[require_budget(name)] = Prefix.parse(parts)
    return found
